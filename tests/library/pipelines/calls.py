"""Ways to call a toy pipeline other than with its own arguments."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.library.pipelines.toy import PROMPT, Toy

PER_PROMPT = ("num_videos_per_prompt", "num_images_per_prompt")


def wider(toy: Toy, pipe: Any) -> dict[str, Any]:
    """Another resolution."""
    return toy.wider


def unguided(toy: Toy, pipe: Any) -> dict[str, Any]:
    """Guidance off. (Where a guider guides, `guider_off` as well.)"""
    return toy.unguided


def two_prompts(toy: Toy, pipe: Any) -> dict[str, Any]:
    """A list of two prompts."""
    negative = toy.arguments().get("negative_prompt")
    return {
        "prompt": [PROMPT, "a blue star"],
        **({} if negative is None else {"negative_prompt": [negative] * 2}),
    }


def two_videos(toy: Toy, pipe: Any) -> dict[str, Any]:
    """Two videos of one prompt, where the pipeline has an argument for it."""
    known = inspect.signature(pipe.__call__).parameters
    return {name: 2 for name in PER_PROMPT if name in known}


CALLS = {"wider": wider, "unguided": unguided, "two prompts": two_prompts, "two videos": two_videos}


@contextmanager
def guider_off(pipe: Any) -> Iterator[None]:
    """The pipeline with a guider that does not guide, if it has one."""
    guider = getattr(pipe, "guider", None)
    if guider is None:
        yield
        return
    from diffusers.guiders import ClassifierFreeGuidance

    pipe.guider = ClassifierFreeGuidance(guidance_scale=1.0)
    try:
        yield
    finally:
        pipe.guider = guider
