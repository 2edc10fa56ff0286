"""One process of `test_parallel.py`: an official pipeline in sequence parallel. Not a test by itself."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.distributed as dist

from backends.hunyuan.tasks import HUNYUAN
from backends.names import replaced
from backends.registry import get_backend
from backends.repositories import import_package, resolve_repository
from backends.wan.random_parts import TorchWithoutCuda
from navicache_cli.commands.generate import build_plan
from navicache_cli.distributed import leave_processes, read_launch
from navicache_cli.runner import run
from tests.doubles.standins import put_torchvision_in_place


def hunyuan_on_cpus(repository: str):
    """Let the official loader, which names GPUs and their way of exchange, take CPUs and gloo."""
    import_package(HUNYUAN, resolve_repository(HUNYUAN, repository), ("hyvideo.config", "hyvideo.inference"))
    exchange = SimpleNamespace(
        init_process_group=lambda kind: dist.init_process_group("gloo"),
        get_world_size=dist.get_world_size,
        get_rank=dist.get_rank,
    )
    return replaced(sys.modules["hyvideo.inference"], torch=TorchWithoutCuda(), dist=exchange)


def main(model: str, repository: str, folder: str, count: str, threshold: str) -> None:
    put_torchvision_in_place()
    flags = {"weights": "random-small", "repo": repository, "ulysses": count, "frames": "5", "steps": "14"}
    plan = build_plan({"model": model, "align_steps": "4", "threshold": threshold, **flags}, [], None, {})
    plan = replace(plan, size="96x64")
    backend = get_backend(model)
    backend.check(plan)
    with hunyuan_on_cpus(repository) if model == "hunyuan" else nullcontext():
        pipeline = backend.load(plan)
    transformer = pipeline.site().module
    before = transformer.forward
    result = run(pipeline, plan)
    rank = read_launch().rank
    torch.save(result.video, Path(folder, f"{count}-{rank}.pt"))
    records = [[r.computed, r.accumulated_error, r.innovation] for r in result.session.records]
    facts = {"forward": before.__func__.__code__.co_name, "restored": transformer.forward == before}
    Path(folder, f"{count}-{rank}.json").write_text(json.dumps({**facts, "records": records}))
    leave_processes()


if __name__ == "__main__":
    main(*sys.argv[1:])
