"""In the place of the package vbench: the same interface, files and habits; scores are digests of the videos.

`VBENCH_CALLS` names a file that gets a line for each call; `VBENCH_FAILS` a dimension that fails,
`VBENCH_NAN` one without a score. As the real one, it takes the suffix of any file for that of all, and passes
over videos it misses.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path


class VBench:
    def __init__(self, device, full_info_dir, output_path):
        self.device, self.full_info_dir, self.output_path = device, full_info_dir, output_path
        os.makedirs(output_path, exist_ok=True)

    def evaluate(
        self, videos_path, name, prompt_list=(), dimension_list=None, local=False, read_frame=False,
        mode="vbench_standard", **options,
    ):  # fmt: skip
        assert (mode, local, read_frame) == ("vbench_standard", False, False)
        assert options == {"imaging_quality_preprocessing_mode": "longer"}
        results = {}
        for dimension in dimension_list:
            with open(os.environ["VBENCH_CALLS"], "a") as calls:
                calls.write(f"{dimension} {self.device}\n")
            print(f"talking of {dimension}")
            if dimension == os.environ.get("VBENCH_FAILS"):
                raise ModuleNotFoundError("No module named 'detectron2'")
            results[dimension] = self._score(dimension, Path(videos_path))
        output = Path(self.output_path, f"{name}_eval_results.json")
        output.write_text(json.dumps(results))

    def _score(self, dimension, folder):
        suffix = Path(next(iter(os.listdir(folder)))).suffix
        entries = [e for e in json.loads(Path(self.full_info_dir).read_text()) if dimension in e["dimension"]]
        names = [f"{entry['prompt_en']}-{n}{suffix}" for entry in entries for n in range(5)]
        found = [folder / name for name in dict.fromkeys(names) if (folder / name).exists()]
        values = [score_of(dimension, path.read_bytes()) for path in found]
        mean = float("nan") if dimension == os.environ.get("VBENCH_NAN") else sum(values) / len(values)
        shown = {"dynamic_degree": lambda value: value > 0.5, "imaging_quality": lambda value: 100 * value}
        show = shown.get(dimension, lambda value: value)
        rows = [
            {"video_path": str(path), "video_results": show(value)}
            for path, value in zip(found, values, strict=True)
        ]
        return [mean, rows]


def score_of(dimension: str, data: bytes) -> float:
    return zlib.crc32(dimension.encode() + data) / 2**32
