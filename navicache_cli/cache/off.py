"""No caching: every step runs the model, and nothing is kept or measured."""

from __future__ import annotations

from navicache_cli.cache.policy import Decision

_COMPUTE = Decision(compute=True)


class Off:
    """Computes every step. The baseline: bit-identical to the model without a session."""

    name = "off"
    caches = False

    def begin(self, total_steps: int) -> None:
        """Nothing to forget."""

    def decide(self, index: int, input_change: float | None) -> Decision:
        """Compute."""
        return _COMPUTE

    def observe(
        self, index: int, input_span: float | None, output_span: float | None, output_norm: float
    ) -> float | None:
        """Learn nothing; returns None."""
        return None
