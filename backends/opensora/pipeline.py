"""The loaded official pipeline: where the cache attaches, and how one generation is timed."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from einops import rearrange
from torch import nn

from backends.official import official
from navicache_cli.cache import Architecture
from navicache_cli.cache.policies.policy import Region
from navicache_cli.errors import SiteError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from backends.protocol import Stages
    from navicache_cli.cache.sites.site import Site
    from navicache_cli.plan.plan import Plan
    from navicache_cli.report.report import ModelIdentity

LESS_MEMORY = "try a smaller --size, such as 240p, or fewer --frames"


class Route(Protocol):
    """One of the two ways to run Open-Sora 1.2.

    Attributes:
        transformer: the official STDiT3.
        vae: the official VAE; its `decode` is called once per video.
    """

    transformer: Any
    vae: Any

    def generate(self, plan: Plan) -> Tensor:
        """Return the video [3, F, H, W], float in [-1, 1]."""


class OpenSoraPipeline:
    """Open-Sora 1.2, driven by an official sampler.

    Args:
        route: through which official code.
        device: where it computes.
        identity: which code and weights it is.
    """

    conditional_first = True  # in the batch of each forward

    def __init__(self, route: Route, device: torch.device, identity: ModelIdentity) -> None:
        self.route = route
        self.device = device
        self.identity = identity

    def site(self, region: Region = Region.OWN) -> Site:
        """Return a site; the model's own region is the stack of blocks. See `architecture_of`."""
        return architecture_of(self.route.transformer).site(region)

    def generate(self, plan: Plan, stages: Stages) -> Tensor:
        """Run the official sampler. See `Pipeline.generate`.

        Guidance 1 saves nothing here: the official samplers always run both branches, in one forward.

        Raises:
            OutOfMemoryError: the GPU's memory did not suffice.
        """
        timing = official.timed(stages, [self.route.transformer], self.route.vae, self.device)
        with quiet(), timing, official.out_of_memory_hints(LESS_MEMORY, plan):
            return self.route.generate(plan).cpu()


def architecture_of(transformer: Any) -> Architecture:
    """Return its parts: a spatial and a temporal block in turn, hidden states [B, T·S, C] in and out.

    B is two, the guidance's branches in one forward. The official code walks the pairs by `zip`, VideoSys by
    index; both call the same blocks in the same order.

    Raises:
        SiteError: the transformer has no such blocks.
    """
    spatial, temporal = (getattr(transformer, name, None) for name in ("spatial_blocks", "temporal_blocks"))
    sizes = [len(part) if isinstance(part, nn.ModuleList) else None for part in (spatial, temporal)]
    if spatial is None or temporal is None or None in sizes or sizes[0] != sizes[1]:
        found = ["no list" if size is None else str(size) for size in sizes]
        raise SiteError(
            f"expected {type(transformer).__name__} with as many spatial_blocks as temporal_blocks, "
            f"found {found[0]} and {found[1]}",
            "check out the tested commit of the repository",
        )
    blocks = [block for pair in zip(spatial, temporal, strict=True) for block in pair]
    # Steps are inferred from the timestep, as well as if they were told: the samplers make one forward a
    # step, at a time of its own, which is read together with what is measured.
    return Architecture(
        transformer,
        timestep="timestep",
        inputs="x",
        whole=False,
        blocks=lambda: blocks,
        hidden="x",
        modulation=modulated_input,
        attentions=lambda: {
            "spatial": [block.attn for block in spatial],
            "temporal": [block.attn for block in temporal],
            "cross": [block.cross_attn for block in blocks],
        },
    )


def modulated_input(block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """What the first spatial block's attention takes: hidden states, normed and modulated, [B, T·S, C]."""
    hidden, _, embedding = args[:3]
    table = block.scale_shift_table[None] + rearrange(embedding, "b (six c) -> b six c", six=6)
    shift, scale, *_ = table.chunk(6, dim=1)
    modulated: Tensor = block.norm1(hidden) * (1 + scale) + shift
    return modulated


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what `official.quiet` does and more, and keep the official code from setting up our logging."""
    root, disabled = logging.getLogger(), logging.root.manager.disable
    level, handlers = root.level, root.handlers[:]
    logging.disable(logging.INFO)
    try:
        with official.quiet():
            for category in (DeprecationWarning, SyntaxWarning):
                warnings.filterwarnings("ignore", category=category)
            yield
    finally:
        logging.disable(disabled)
        root.setLevel(level)
        root.handlers[:] = handlers
