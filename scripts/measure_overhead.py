"""What the session costs a step: `python scripts/measure_overhead.py`.

Times a loop of two forwards a step over latents of tiny's size, with a forward that does next to nothing,
bare and under a session, in turns; prints the median difference in microseconds a step.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from navicache_cli.cache import ForwardSite, Session, attach, make_policy

STEPS = 50


class Scaled(nn.Module):
    """Stands in for a model: one small operation."""

    def forward(self, x: list[Tensor], t: Tensor) -> list[Tensor]:
        """Return 0.9 x."""
        return [u * 0.9 for u in x]


@torch.inference_mode()
def seconds_a_step(model: nn.Module, session: Session | None, latents: Tensor) -> float:
    """Run one generation of STEPS steps with two branches, to its end on the device."""
    timesteps = torch.linspace(999, 20, STEPS, device=latents.device).split(1)
    with attach(ForwardSite(model), session) if session else nullcontext():
        start = time.perf_counter()
        for t in timesteps:
            model([latents], t)
            latents = latents - 0.02 * model([latents], t)[0]
        if latents.is_cuda:
            torch.cuda.synchronize(latents.device)
        return (time.perf_counter() - start) / STEPS


def session_cost(latents: Tensor, runs: int) -> dict[str, float]:
    """Return the median microseconds a step that a session adds, by what it does."""
    model = Scaled()
    settings = {"off": 0.0, "navicache, nothing skipped": 0.0, "navicache, all but forced skipped": 1e9}
    differences: dict[str, list[float]] = {name: [] for name in settings}
    for _ in range(runs):
        bare = seconds_a_step(model, None, latents)
        for name, threshold in settings.items():
            method = name.split(",")[0]
            policy = make_policy(method, threshold=threshold, align_steps=10)
            cost = seconds_a_step(model, Session(policy, STEPS), latents)
            differences[name].append(1e6 * (cost - bare))
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
