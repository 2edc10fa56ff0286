"""Builds the official sampler by its own `from_pretrained`, from weights or around random parts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from backends.hunyuan import random_parts
from backends.hunyuan.pipeline import LESS_MEMORY, HunyuanPipeline, silent_log
from backends.hunyuan.tasks import HUNYUAN, TASKS
from backends.hunyuan.weights import (
    CLIP,
    TEXT_ENCODER,
    VAE,
    check_transformer,
    digest_weights,
    locate_weights,
    reading_errors,
    transformer_file,
)
from backends.official.names import replaced
from backends.official.official import RANDOM, SMALL, code_errors, out_of_memory_hints, quiet, tensors_only
from backends.official.random_weights import random_model
from backends.official.repositories import Checkout, import_package, resolve_repository
from backends.official.varlen_attention import bind_varlen_attention
from navicache_cli.errors import BackendError
from navicache_cli.plan.plan import Plan
from navicache_cli.report.report import ModelIdentity

ATTENTION = "hyvideo.modules.attenion"  # spelt so
# Modules of the official code that call torch.load.
LOADERS = ("hyvideo.inference", "hyvideo.vae", "hyvideo.modules.fp8_optimization")


def load_pipeline(plan: Plan, device: torch.device) -> HunyuanPipeline:
    """Import the official code, check and load the weights, and return the pipeline.

    Args:
        plan: names task, weights and repository.
        device: the GPU; or the CPU, of use with small random weights.

    Raises:
        BackendError: the official code is not there, cannot be imported, or is not as expected.
        OutOfMemoryError: the GPU's memory does not suffice.
        WeightsError: weights are missing, incomplete or of another model.
    """
    checkout = resolve_repository(HUNYUAN, plan.repo)
    # The official loader switches gradients off for the whole process; they are back on afterwards.
    gradients = torch.set_grad_enabled(torch.is_grad_enabled())
    with quiet(), out_of_memory_hints(LESS_MEMORY, plan), code_errors(HUNYUAN), gradients:
        import_hunyuan(checkout)
        bind_varlen_attention(HUNYUAN.package, ATTENTION)
        with silent_log():
            if plan.weights in (RANDOM, SMALL):
                sampler, digest = _build_random(plan, device), f"none: {plan.weights} weights"
            else:
                folder = locate_weights(plan.weights, plan.fp8, checkout)
                sampler, digest = _build(plan, device, folder), digest_weights(folder, plan.fp8)
    identity = ModelIdentity(f"{HUNYUAN.title} {plan.task}", HUNYUAN.url, checkout.commit, digest)
    return HunyuanPipeline(sampler, identity)


def import_hunyuan(checkout: Checkout) -> None:
    """Import what generation needs of the official package.

    Raises:
        BackendError: see `import_package`.
    """
    import_package(HUNYUAN, checkout, ("hyvideo.config", "hyvideo.inference"))


def official_arguments(plan: Plan, device: torch.device, dit_weight: Path) -> Any:
    """Return the namespace that the official `parse_args` makes of our options.

    What `predict` is told at each generation is left out, and prompts never pass through it.

    Raises:
        BackendError: the official program does not take them.
    """
    words = [
        # Off by default, and on in every official example: from noise to picture.
        "--flow-reverse",
        f"--flow-shift={plan.shift}",
        f"--model-resolution={TASKS[plan.task]}",
        f"--dit-weight={dit_weight}",
        f"--ulysses-degree={plan.ulysses}",
        f"--ring-degree={plan.ring}",
    ]
    if plan.offload and device.type == "cuda":
        words.append("--use-cpu-offload")
    if plan.fp8:
        words.append("--use-fp8")
    if device.type == "cpu":
        # The official code rounds to half precision by autocast for CUDA alone.
        parts = ("", "vae-", "text-encoder-")
        words += [f"--{part}precision=fp32" for part in parts]
        words.append("--text-encoder-precision-2=fp32")
    told = StringIO()
    with replaced(sys, argv=["sample_video.py", *words]), redirect_stderr(told):
        try:
            return sys.modules["hyvideo.config"].parse_args()
        except SystemExit:
            cause = (told.getvalue().splitlines() or ["no reason"])[-1]
    raise BackendError(
        f"expected hyvideo/config.py to take {' '.join(word.split('=')[0] for word in words)}; "
        f"found that it says: {cause[:160]}",
        f"check out {HUNYUAN.tested_commit[:7]}, the tested commit",
    )


def _build(plan: Plan, device: torch.device, folder: Path) -> Any:
    """The official sampler with the weights in a folder."""
    transformer = transformer_file(folder, plan.fp8)
    args = official_arguments(plan, device, transformer)
    config = sys.modules["hyvideo.modules"].HUNYUAN_VIDEO_CONFIG[args.model]
    with reading_errors(folder):
        check_transformer(transformer, config, args.latent_channels)
        with _paths_into(folder), tensors_only(LOADERS):
            return _construct(args, device, folder)


def _build_random(plan: Plan, device: torch.device) -> Any:
    """The official sampler around random parts."""
    args = official_arguments(plan, device, Path())
    modules, inference = sys.modules["hyvideo.modules"], sys.modules["hyvideo.inference"]
    smaller = random_parts.SMALL_CONFIG if plan.weights == SMALL else {}
    configs = {name: {**config, **smaller} for name, config in modules.HUNYUAN_VIDEO_CONFIG.items()}
    load_model = inference.load_model

    def load_random_model(*arguments: Any, **keywords: Any) -> torch.nn.Module:
        return random_model(lambda: load_model(*arguments, **keywords), device)

    parts = {
        "load_model": load_random_model,
        "load_vae": random_parts.load_random_vae,
        "TextEncoder": random_parts.RandomTextEncoder,
    }
    keep = replaced(inference.Inference, load_state_dict=lambda args, model, path: model)
    with replaced(modules, HUNYUAN_VIDEO_CONFIG=configs), replaced(inference, **parts), keep:
        return _construct(args, device, Path())


def _construct(args: Any, device: torch.device, folder: Path) -> Any:
    """Call the official constructor."""
    return sys.modules["hyvideo.inference"].HunyuanVideoSampler.from_pretrained(folder, args, device=device)


@contextmanager
def _paths_into(folder: Path) -> Iterator[None]:
    """Let the official tables of paths, which begin at MODEL_BASE or ./ckpts, begin at `folder`."""
    encoders = {"llm": str(folder / TEXT_ENCODER), "clipL": str(folder / CLIP)}
    vae, text = sys.modules["hyvideo.vae"], sys.modules["hyvideo.text_encoder"]
    tables = replaced(text, TEXT_ENCODER_PATH=encoders, TOKENIZER_PATH=encoders)
    with replaced(vae, VAE_PATH=dict.fromkeys(vae.VAE_PATH, str(folder / VAE))), tables:
        yield
