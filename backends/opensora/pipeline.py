"""The loaded official pipeline: where the cache attaches, and how one generation is timed."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from backends.names import replaced
from navicache_cli.cache import StackSite
from navicache_cli.errors import OutOfMemoryError, SiteError

if TYPE_CHECKING:
    from torch import Tensor

    from backends.protocol import Stages
    from navicache_cli.cache.site import Site
    from navicache_cli.plan import Plan
    from navicache_cli.report import ModelIdentity

LESS_MEMORY = "try a smaller --size, such as 240p, fewer --frames, or install flash-attn"


class Route(Protocol):
    """One of the two ways to run Open-Sora 1.2.

    Attributes:
        transformer: the official STDiT3.
        vae: the official VAE; its `decode` is called once a video.
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

    def __init__(self, route: Route, device: torch.device, identity: ModelIdentity) -> None:
        self.route = route
        self.device = device
        self.identity = identity

    def site(self) -> Site:
        """Return the stack of blocks; see `stack_of`."""
        return stack_of(self.route.transformer)

    def generate(self, plan: Plan, stages: Stages) -> Tensor:
        """Run the official sampler. See `Pipeline.generate`.

        Guidance 1 saves nothing here: the official samplers always run both branches, in one forward.

        Raises:
            OutOfMemoryError: the GPU's memory did not suffice.
        """
        with quiet(), self._timed(stages), out_of_memory_hints():
            return self.route.generate(plan).cpu()

    @contextmanager
    def _timed(self, stages: Stages) -> Iterator[None]:
        """Tell `stages` when, in one official call, the transformer is first called and the VAE decodes."""
        vae, decode = self.route.vae, self.route.vae.decode

        def start(stage: str) -> None:
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            stages.start(stage)

        def before_transformer(module: nn.Module, arguments: Any) -> None:
            hook.remove()
            start("denoise")

        def timed_decode(*arguments: Any, **keywords: Any) -> Any:
            start("decode")
            return decode(*arguments, **keywords)

        hook = self.route.transformer.register_forward_pre_hook(before_transformer)
        stages.start("text")
        try:
            with replaced(vae, decode=timed_decode):
                yield
        finally:
            hook.remove()
            start("")


def stack_of(transformer: Any) -> StackSite:
    """Return the site over a spatial and a temporal block in turn: hidden states [B, T·S, C] in and out.

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
    return StackSite(transformer, blocks, timestep="timestep", hidden="x")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings about old names, and keep the official code from setting up the program's logging."""
    root, disabled = logging.getLogger(), logging.root.manager.disable
    level, handlers = root.level, root.handlers[:]
    logging.disable(logging.INFO)
    try:
        with warnings.catch_warnings():
            for category in (FutureWarning, DeprecationWarning, SyntaxWarning):
                warnings.filterwarnings("ignore", category=category)
            warnings.filterwarnings("ignore", message=".*CUDA is not available.*", category=UserWarning)
            yield
    finally:
        logging.disable(disabled)
        root.setLevel(level)
        root.handlers[:] = handlers


@contextmanager
def out_of_memory_hints() -> Iterator[None]:
    """Turn torch's error into one that names the options which lower Open-Sora's memory."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        cause = str(error).splitlines()[0][:160]
        raise OutOfMemoryError(f"the GPU ran out of memory: {cause}", LESS_MEMORY) from error
