"""No caching: every step runs the model, and nothing is kept or measured."""

from __future__ import annotations

from navicache_cli.cache.policies.policy import RESIDUAL, Decision, Region, Signal, Unmeasured

_COMPUTE = Decision(compute=True)


class Off(Unmeasured):
    """Computes every step. The baseline: bit-identical to the model without a session."""

    name = "off"
    caches = False
    region = Region.OWN
    signal = Signal.NONE
    predictor = RESIDUAL

    def decide(self, index: int, signal: float | None) -> Decision:
        return _COMPUTE
