"""Builds the official pipeline object by its own constructor, from weights or from random parts."""

from __future__ import annotations

import sys
from copy import deepcopy
from functools import partial
from types import ModuleType
from typing import Any

import torch

from backends.official.attention import bind_attention
from backends.official.distributed import check_heads, start_sequence_parallel
from backends.official.names import loaded_modules, replaced
from backends.official.official import (
    RANDOM,
    SMALL,
    code_errors,
    out_of_memory_hints,
    quiet,
    tensors_only,
    weights_errors,
)
from backends.official.repositories import Checkout, Official, import_package, resolve_repository
from backends.wan import random_parts
from backends.wan.pipeline import WanPipeline, less_memory
from backends.wan.tasks import TASKS, WAN22, Task
from backends.wan.weights import digest_weights, locate_weights
from navicache_cli.errors import BackendError
from navicache_cli.launch import join_processes, read_launch
from navicache_cli.plan.plan import Plan
from navicache_cli.report.report import ModelIdentity

# Modules of the official packages that call torch.load.
LOADERS = ("modules.t5", "modules.vae", "modules.vae2_1", "modules.vae2_2", "modules.clip")


def load_pipeline(plan: Plan, device: torch.device) -> WanPipeline:
    """Import the official code, check and load the weights, and return the pipeline.

    Args:
        plan: names task, weights and repository.
        device: the GPU; or the CPU, of use with small random weights.

    Raises:
        BackendError: the official code is not there, cannot be imported, or is not as expected.
        OutOfMemoryError: the GPU's memory does not suffice.
        UsageError: the transformer's heads cannot be shared among as many processes.
        WeightsError: weights are missing, incomplete or of another task.
    """
    task = TASKS[plan.task]
    official, checkout = task.official, resolve_repository(task.official, plan.repo)
    with quiet(), out_of_memory_hints(less_memory(task), plan), code_errors(official):
        import_official(official, checkout)
        bind_attention(official.module, f"{official.module}.modules.attention")
        kind, config = _official(task, plan.task)
        if plan.weights == SMALL:
            config = deepcopy(config)
            config.update(random_parts.SMALL_CONFIG)
        check_heads(plan, config.num_heads, f"{official.title} {plan.task}")
        if official == WAN22:  # It exchanges by torch.distributed itself.
            join_processes(read_launch(), device)
        else:
            start_sequence_parallel(plan, device)
        if plan.weights in (RANDOM, SMALL):
            made, digest = _build_random(kind, config, plan, device), f"none: {plan.weights} weights"
        else:
            made, digest = _build(kind, config, plan, device, checkout)
    identity = ModelIdentity(f"{official.title} {plan.task}", official.url, checkout.commit, digest)
    return WanPipeline(made, task, identity)


def import_official(official: Official, checkout: Checkout) -> ModuleType:
    """Import the official package.

    Raises:
        BackendError: see `import_package`.
    """
    if torch.cuda.is_available():
        return import_package(official, checkout)
    # modules/t5.py asks for the current GPU in a default argument that nobody uses.
    with replaced(torch.cuda, current_device=lambda: 0):
        return import_package(official, checkout)


def _official(task: Task, name: str) -> tuple[type, Any]:
    """The official class and config of a task."""
    modules = loaded_modules(task.official.module)
    kind = next((vars(one)[task.pipeline] for one in modules if task.pipeline in vars(one)), None)
    config = sys.modules[f"{task.official.module}.configs"].WAN_CONFIGS.get(name)
    if kind is None or config is None:
        raise BackendError(
            f"expected wan.{task.pipeline} and a config for {name}, found a checkout without them",
            f"check out {task.official.tested_commit[:7]}, the tested commit",
        )
    return kind, config


def _build(kind: type, config: Any, plan: Plan, device: torch.device, checkout: Checkout) -> tuple[Any, str]:
    """The official pipeline with the weights in a folder, and their digest."""
    task = TASKS[plan.task]
    name = task.weights_name(plan.size)
    folder = locate_weights(plan.weights, name, task, config, checkout)
    digest = digest_weights(folder, name, config)
    again = f"hf download Wan-AI/{name} --local-dir {folder} --force-download"
    package = task.official.module
    loaders = [one for one in (f"{package}.{loader}" for loader in LOADERS) if one in sys.modules]
    with weights_errors(f"the weights {name} in {folder}", again), tensors_only(loaders):
        return _construct(kind, config, str(folder), plan, device), digest


def _build_random(kind: type, config: Any, plan: Plan, device: torch.device) -> Any:
    """The official pipeline around random parts."""
    task = TASKS[plan.task]
    transformer = getattr(sys.modules[kind.__module__], task.transformer, None)
    if transformer is None:
        raise BackendError(
            f"expected {task.transformer} in {kind.__module__}, found none",
            f"check out {task.official.tested_commit[:7]}",
        )
    arguments = random_parts.transformer_arguments(task, config)
    parts: dict[str, Any] = {
        task.transformer: random_parts.RandomTransformer(
            # FSDP takes its share of a model on the CPU; a whole one on each GPU would be too large.
            transformer,
            arguments,
            torch.device("cpu") if plan.fsdp else device,
            idle_on_cpu=task.official == WAN22,
        ),
        "T5EncoderModel": random_parts.RandomTextEncoder,
        task.vae: partial(random_parts.RandomVAE, channels=task.latent_channels, cell=task.cell),
    }
    if "clip_checkpoint" in config:
        parts["CLIPModel"] = random_parts.RandomCLIP
    return _construct(kind, config, "", plan, device, parts)


def _construct(
    kind: type,
    config: Any,
    folder: str,
    plan: Plan,
    device: torch.device,
    parts: dict[str, Any] | None = None,
) -> Any:
    """Call the official constructor as generate.py does, with `parts` in the place of names in its module."""
    if device.type == "cpu":
        parts = {**(parts or {}), "torch": random_parts.TorchWithoutCuda()}
    shared = plan.ulysses * plan.ring > 1
    more: dict[str, Any] = {"use_usp": shared}
    if TASKS[plan.task].official == WAN22:
        # As its makers' commands have it; FSDP brings a type of its own, and on a CPU there is no autocast.
        narrow = plan.dtype != "float32" and not plan.fsdp and device.type == "cuda"
        more = {"use_sp": shared, "convert_model_dtype": narrow}
    with replaced(sys.modules[kind.__module__], **(parts or {})):
        return kind(
            config=config,
            checkpoint_dir=folder,
            device_id=device.index or 0,
            rank=read_launch().rank,
            # On the CPU the text encoder stays whole, as the official code has it.
            t5_fsdp=plan.fsdp and not plan.t5_cpu,
            dit_fsdp=plan.fsdp,
            t5_cpu=plan.t5_cpu,
            **more,
        )
