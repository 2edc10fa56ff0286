"""Runs the package `vbench`: a program for the Python that has it, which need not have navicache.

    run_vbench.py find
        prints {"version", "prompts"} as JSON, or null where there is no vbench
    run_vbench.py score DIMENSION PROMPTS VIDEOS OUTPUT
        lets vbench write OUTPUT/DIMENSION_eval_results.json

A process of its own for each dimension: its networks leave the GPU with it, and its talk goes to a log.
"""

import json
import os
import sys
from importlib import metadata, util

# Python puts this file's folder first; what lies there is no package of vbench's.
sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.abspath(__file__))]


def find() -> "dict[str, str] | None":
    """Say which vbench there is, without importing it."""
    spec = util.find_spec("vbench")
    if spec is None or not spec.submodule_search_locations:
        return None
    try:
        version = metadata.version("vbench")
    except metadata.PackageNotFoundError:
        version = "unknown"
    folder = next(iter(spec.submodule_search_locations))
    return {"version": version, "prompts": os.path.join(folder, "VBench_full_info.json")}


def score(dimension: str, prompts: str, videos: str, output: str) -> None:
    """Score one dimension as `vbench evaluate` does, but on the CPU where there is no GPU."""
    import torch
    from vbench import VBench

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    VBench(device, prompts, output).evaluate(
        videos_path=videos,
        name=dimension,
        dimension_list=[dimension],
        local=False,
        read_frame=False,
        mode="vbench_standard",
        imaging_quality_preprocessing_mode="longer",  # the default of vbench's own program
    )


if __name__ == "__main__":
    if sys.argv[1] == "find":
        print(json.dumps(find()))
    else:
        score(*sys.argv[2:])
