"""One process of `test_wan_parallel.py`: the official pipeline in sequence parallel. Not a test by itself."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from backends.registry import get_backend
from navicache_cli.cache.sites.binding import bound_to
from navicache_cli.launch import leave_processes, read_launch
from navicache_cli.plan.plan import build_plan
from navicache_cli.run.runner import run
from tests.doubles.standins import put_torchvision_in_place


def main(model: str, repository: str, folder: str, count: str) -> None:
    put_torchvision_in_place()
    flags = {"weights": "random-small", "repo": repository, "ulysses": count, "frames": "5", "steps": "14"}
    plan = build_plan({"model": model, "align_steps": "4", "threshold": "0.1", **flags}, [], None, {})
    plan = replace(plan, size="96x64")
    backend = get_backend(model)
    backend.check(plan)
    pipeline = backend.load(plan)
    if model == "wan2.2":
        # Its attention gives bfloat16, which autocast takes on a GPU; on a CPU there is none.
        shared = sys.modules["wan22.distributed.sequence_parallel"]
        official = shared.distributed_attention
        shared.distributed_attention = lambda *args, **kwargs: official(*args, **kwargs).float()
    transformer = next(iter(pipeline.models.values()))
    before = transformer.forward
    result = run(pipeline, plan)
    rank = read_launch().rank
    torch.save(result.video, Path(folder, f"{count}-{rank}.pt"))
    records = [[r.computed, r.decision.accumulated_error, r.innovation] for r in result.session.records]
    restored = bound_to(transformer) is None and transformer.forward == before
    facts = {"forward": before.__name__, "restored": restored}
    Path(folder, f"{count}-{rank}.json").write_text(json.dumps({**facts, "records": records}))
    leave_processes()


if __name__ == "__main__":
    main(*sys.argv[1:])
