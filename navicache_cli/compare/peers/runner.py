"""The runner of peers: other libraries' caches under this project's sampler, weights and noise."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from navicache_cli.compare.peers.caches import APART, switched_on
from navicache_cli.compare.peers.meter import PeerMeter, count_shares
from navicache_cli.compare.runners import Outcome
from navicache_cli.compare.settings import Setting
from navicache_cli.errors import UsageError
from navicache_cli.report.peak_memory import PeakMemory
from navicache_cli.report.report import ModelIdentity

if TYPE_CHECKING:
    from backends.protocol import Pipeline
    from navicache_cli.plan.plan import Plan

_REPOSITORIES = {"diffusers": "huggingface/diffusers", "cache-dit": "vipshop/cache-dit"}


class PeerRunner:
    """Runs all peers of one library; see `Runner`.

    Args:
        pipeline: the loaded model, with a `twin` as `backends.tiny` has it.
        package: the library's distribution; it is there.

    Raises:
        UsageError: the model has no twin.
    """

    def __init__(self, pipeline: Pipeline, package: str) -> None:
        if not hasattr(pipeline, "twin"):
            raise UsageError(
                f"{package} expects a model whose weights it can run, found {pipeline.identity.name}",
                "--model tiny",
            )
        self._pipeline: Any = pipeline
        self._shares: list[float] = []
        versions = [f"{name} {version(name)}" for name in dict.fromkeys((package, "diffusers"))]
        self.identity = ModelIdentity(
            name=pipeline.identity.name,
            repository=_REPOSITORIES[package],
            commit=", ".join(versions),
            weights_digest=pipeline.identity.weights_digest,
        )

    def run(self, plan: Plan, setting: Setting) -> Outcome:
        from backends.protocol import Stages
        from navicache_cli.media.video import to_uint8

        knobs = dict(setting.arguments)
        peer = knobs.pop("peer")
        twin = self._pipeline.twin(apart=peer in APART)
        self._shares = self._shares or self._count_shares(plan)
        meter = PeerMeter(twin.models, self._shares, plan)
        stages, peak = Stages(), PeakMemory()
        with switched_on(twin.models, peer, knobs, plan):
            video = twin.generate(plan, stages)
        sums = meter.totals(peak.read())
        return Outcome(to_uint8(video), stages.seconds, meter.step_reports(), sums, stages.cpu_seconds)

    def _count_shares(self, plan: Plan) -> list[float]:
        """Share of every part in a forward's work; all generations of a comparison have one size."""
        from backends.protocol import Stages

        twin = self._pipeline.twin()
        (model,) = twin.models
        short = plan.uncached(steps=1)
        return count_shares(model, lambda: twin.generate(short, Stages()))
