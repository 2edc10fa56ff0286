"""What the session costs per step: `python scripts/measure_overhead.py`.

Times a loop of two forwards per step over latents of tiny's size, with a forward that does next to nothing,
bare and under a session, in turns; prints the median difference in microseconds per step.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from navicache_cli.cache import Calibrated, ForwardSite, Policy, Session, attach, make_policy

STEPS = 50
GUIDANCE = 5.0  # strong enough that what is learned is learned of both branches' combination


class Scaled(nn.Module):
    """Stands in for a model: one small operation."""

    def forward(self, x: list[Tensor], t: Tensor) -> list[Tensor]:
        return [u * 0.9 for u in x]


NoGradients = Callable[[], AbstractContextManager]


def seconds_a_step(
    model: nn.Module, session: Session | None, latents: Tensor, no_gradients: NoGradients
) -> float:
    """Run one generation of STEPS steps with two branches, to its end on the device."""
    timesteps = torch.linspace(999, 20, STEPS, device=latents.device).split(1)
    with no_gradients(), attach(ForwardSite(model), session) if session else nullcontext():
        start = time.perf_counter()
        for t in timesteps:
            model([latents], t)
            latents = latents - 0.02 * model([latents], t)[0]
        if latents.is_cuda:
            torch.cuda.synchronize(latents.device)
        return (time.perf_counter() - start) / STEPS


def sessions() -> dict[str, Session]:
    """A new session of every kind that is timed."""

    def gate(threshold: float = 0.0, **options: Any) -> Policy:
        return make_policy("navicache", threshold=threshold, align_steps=10, **options)

    guided = Session(gate(compute=0.5), STEPS, Calibrated)
    guided.guidance = GUIDANCE
    return {
        "off": Session(make_policy("off", threshold=0.0, align_steps=10), STEPS),
        "navicache, nothing skipped": Session(gate(), STEPS),
        "navicache, all but forced skipped": Session(gate(1e9), STEPS),
        "calibrated, nothing skipped": Session(gate(), STEPS, Calibrated),
        "calibrated, half on a budget": Session(gate(compute=0.5), STEPS, Calibrated),
        "calibrated, half on a budget, guidance told": guided,
    }


def session_cost(
    latents: Tensor, runs: int, no_gradients: NoGradients = torch.inference_mode
) -> dict[str, float]:
    """Return the median microseconds per step that a session adds, by what it does.

    Args:
        latents: of one branch.
        runs: of each kind.
        no_gradients: how the sampler does without them: tiny's by inference_mode, the official ones by
            no_grad. On a GPU that makes a difference: a session in inference mode reads twice a step.
    """
    model = Scaled()
    differences: dict[str, list[float]] = {name: [] for name in sessions()}
    for _ in range(runs):
        bare = seconds_a_step(model, None, latents, no_gradients)
        for name, session in sessions().items():
            differences[name].append(1e6 * (seconds_a_step(model, session, latents, no_gradients) - bare))
    return {name: round(statistics.median(found), 1) for name, found in differences.items()}


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    print(json.dumps(session_cost(torch.randn(16, 5, 8, 8), arguments.runs), indent=1))


if __name__ == "__main__":
    main()
