"""All the toy pipelines, one row each."""

from typing import Any

import torch

from tests.library.pipelines import hunyuan, images, ltx, more, others, wan
from tests.library.pipelines.toy import Toy, run

ROWS: list[Toy] = [*wan.ROWS, *hunyuan.ROWS, *ltx.ROWS, *others.ROWS, *more.ROWS, *images.ROWS]
ROW = {row.name: row for row in ROWS}
MAIN = ROW.keys() - {row.name for row in more.ROWS}
WAN = ROW["wan"]


def make(toy: Toy = WAN) -> Any:
    """The toy's pipeline, which shows no progress."""
    pipe = toy.build()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def latents(pipe: Any, toy: Toy = WAN, **changes: Any) -> torch.Tensor:
    """What a pipeline makes before anything is decoded; see `toy.run`."""
    return run(toy, pipe, output_type="latent", **changes)
