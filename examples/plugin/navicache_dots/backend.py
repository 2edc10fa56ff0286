"""What navicache asks of a model family: see `backends.protocol`.

Nothing heavy is imported before it is needed, so that `navicache models` stays quick.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from backends.protocol import Stages
from navicache_cli.cache.policies.policy import Region
from navicache_cli.errors import SiteError, UsageError
from navicache_cli.report.report import ModelIdentity

if TYPE_CHECKING:
    from torch import Tensor

    from navicache_cli.cache import Site
    from navicache_cli.plan.plan import Plan


class DotsPipeline:
    """The loaded model, ready for any number of generations."""

    def __init__(self) -> None:
        import torch

        from . import model

        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.ExactDenoiser().to(self.device)
        # Comparisons are run again when this changes. With weights it would be a digest of their files.
        digest = hashlib.sha256(Path(model.__file__).read_bytes()).hexdigest()
        self.identity = ModelIdentity(
            name="dots t2v",
            repository="navicache, examples/plugin",
            commit=f"navicache-dots {version('navicache-dots')}",
            weights_digest=f"sha256:{digest}",
        )

    def site(self, region: Region = Region.OWN) -> Site:
        """Return where the cache attaches: the whole forward, told the step by `t` and what is seen by `x`.

        A model of several blocks offers more methods by `navicache_cli.cache.Architecture`: see
        backends/tiny.
        """
        from navicache_cli.cache import ForwardSite

        if region is not Region.OWN:
            raise SiteError("dots is one formula and has no blocks or attentions", "--method navicache")
        return ForwardSite(self.model, timestep="t", inputs="x")

    def generate(self, plan: Plan, stages: Stages) -> Tensor:
        """Sample by Euler's method. Nothing here knows of the cache.

        Returns:
            Video [3, F, H, W] float32 in [-1, 1].
        """
        import torch

        with torch.inference_mode():
            stages.start("text")
            self.model.draw(plan.frames, plan.height, plan.width)
            asked, negative = self.model.prior(plan.prompt), self.model.prior(plan.negative_prompt)
            stages.start("denoise")
            # Drawn on the CPU whatever the device, so that a seed means the same noise everywhere.
            noise = torch.randn(
                self.model.clips.shape[1:], generator=torch.Generator().manual_seed(plan.seed)
            )
            x = noise.to(self.device)
            even = torch.linspace(1, 0, plan.steps + 1)
            sigmas = (plan.shift * even / (1 + (plan.shift - 1) * even)).to(self.device)
            for sigma, following in pairwise(sigmas):
                t = 1000 * sigma[None]
                velocity = self.model(x, t, asked)
                if plan.guidance != 1:  # The branches of a step always come in this order.
                    away = self.model(x, t, negative)
                    velocity = away + plan.guidance * (velocity - away)
                x = x + (following - sigma) * velocity
            stages.start("decode")
            video = x.clamp(-1, 1).cpu()
            stages.start("")
        return video


class DotsBackend:
    """The model family `dots`."""

    name = "dots"

    def problem(self) -> str:
        """See `Backend.problem`: it needs no weights, no GPU and no other package."""
        return ""

    def check(self, plan: Plan) -> list[str]:
        """See `Backend.check`.

        Raises:
            UsageError: weights are given, of which it has none.
        """
        from .model import known_words

        if plan.weights:
            raise UsageError(f"dots has no weights, found --weights {plan.weights[:60]!r}", "drop --weights")
        if known_words(plan.prompt):
            return []
        return ["dots knows none of these words: any of its clips will do"]

    def load(self, plan: Plan) -> DotsPipeline:
        return DotsPipeline()
