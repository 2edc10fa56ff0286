"""Measure on a GPU what caching costs and gains on the official Wan2.1; run by gpu_check.sh.

Time does not depend on what the weights are, but decisions do, and random ones give any ratio. So the
thresholds here are not the presets': each setting gets the one with which it should compute as many steps as
the published runs did, found by replaying the policy on what an uncached run measured. What is compared is
the speedup reached with the one that the steps really skipped allow.

Order: a few steps to warm up, bare (no session), off, all steps computed and measured, each setting, bare
again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from measure_overhead import session_cost

from backends.protocol import Pipeline, Stages
from backends.registry import get_backend
from navicache_cli.cache import Policy, StepRecord, make_policy
from navicache_cli.errors import NavicacheError
from navicache_cli.plan.plan import Plan, build_plan
from navicache_cli.plan.presets import OFF
from navicache_cli.report.documents import plain
from navicache_cli.report.report import machine_facts
from navicache_cli.report.speed import BEYOND, MARK, beyond_bound
from navicache_cli.report.steps import step_reports
from navicache_cli.run.runner import run, totals
from navicache_cli.terminal import StepProgress, show_error

# Speedups published for Wan2.1-1.3B: NaviCache arXiv 2606.26795, EasyCache arXiv 2507.02860.
SETTINGS = {
    "navicache fast": ("navicache", 2.23),
    "navicache mid": ("navicache", 2.01),
    "navicache slow": ("navicache", 1.86),
    "easycache": ("easycache", 2.54),
}
TARGET_SHARE, TARGET_SECONDS, TARGET_EFFICIENCY = 0.001, 0.001, 0.98


@dataclass
class Measured:
    """One generation.

    Attributes:
        threshold: tau, or None where no policy decides.
        denoise_s: wall-clock seconds of all steps, the solver's part included.
        steps: the records, as in a report; empty for the bare pipeline.
        totals: as in a report; empty for the bare pipeline.
    """

    threshold: float | None
    denoise_s: float
    steps: list[dict[str, Any]]
    totals: dict[str, Any]

    def step_seconds(self, computed: bool) -> float | None:
        """Median seconds inside the cached region of the steps that were computed, or of the others."""
        seconds = [step["seconds"] for step in self.steps if step["computed"] == computed]
        return statistics.median(seconds) if seconds else None


def replay(policy: Policy, records: list[StepRecord]) -> list[bool]:
    """Decide again on what an uncached run measured; return which steps are computed.

    A gap's spans are taken as the sums over its steps: the path is nearly straight from one to the next.
    """
    policy.begin(len(records))
    computed, input_span, output_span = [], 0.0, 0.0
    for record in records:
        measured = record.measured
        input_span += measured.input_change or 0.0
        output_span += measured.output_span or 0.0
        computed.append(policy.decide(record.index, measured.input_change).compute)
        if computed[-1]:
            spans = (input_span, output_span) if record.index else (None, None)
            policy.observe(record.index, *spans, measured.output_norm or 0.0)
            input_span = output_span = 0.0
    return computed


def threshold_for(method: str, align_steps: int, records: list[StepRecord], computed: float) -> float:
    """Find the threshold with which about `computed` of the steps are computed in a replay."""

    def count(threshold: float) -> int:
        policy = make_policy(method, threshold=threshold, align_steps=align_steps)
        return sum(replay(policy, records))

    misses = {10 ** (e / 100): abs(count(10 ** (e / 100)) - computed) for e in range(-600, 401)}
    # From the middle of those that do as well, so that the real run may differ a little.
    best = [threshold for threshold, miss in misses.items() if miss == min(misses.values())]
    return best[len(best) // 2]


def measure(pipeline: Pipeline, plan: Plan, title: str) -> tuple[Measured, list[StepRecord]]:
    """Generate once under a session."""
    with StepProgress(title, plan.steps, quiet=False) as progress:
        result = run(pipeline, plan, on_step=progress)
    steps = [plain(step) for step in step_reports(result.session)]
    threshold = None if plan.method == OFF else plan.threshold
    measured = Measured(threshold, result.seconds["denoise"], steps, plain(totals(result)))
    return measured, result.session.records


def measure_bare(pipeline: Pipeline, plan: Plan) -> Measured:
    """Generate once with nothing attached."""
    stages = Stages()
    pipeline.generate(plan, stages)
    return Measured(None, stages.seconds["denoise"], [], {})


def measure_all(pipeline: Pipeline, plan: Plan) -> dict[str, Measured]:
    """Run everything once, in the order of the module's description."""
    measure(pipeline, replace(plan, method=OFF, steps=3), "warm-up")
    runs = {"bare": measure_bare(pipeline, plan)}
    runs[OFF], _ = measure(pipeline, replace(plan, method=OFF), OFF)
    everything = replace(plan, method="navicache", threshold=0.0)
    runs["nothing skipped"], records = measure(pipeline, everything, "nothing skipped")
    for name, (method, speedup) in SETTINGS.items():
        threshold = threshold_for(method, plan.align_steps, records, plan.steps / speedup)
        runs[name], _ = measure(pipeline, replace(plan, method=method, threshold=threshold), name)
    runs["bare again"] = measure_bare(pipeline, plan)
    return runs


def table(runs: dict[str, Measured], bare: float) -> list[str]:
    """Tabulate the generations in Markdown, against `bare` seconds of denoising."""
    lines = [
        "| setting | threshold | denoising | computed | at most | measured | of that | a computed step "
        "| a skipped step | cache |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in runs.items():
        sums, row = found.totals, [name, "-" if found.threshold is None else f"{found.threshold:.3g}"]
        row.append(f"{found.denoise_s:.2f} s")
        if sums:
            speedup, bound = bare / found.denoise_s, sums["speedup_bound"]
            row += [f"{sums['computed_steps']} of {sums['steps']}", f"{bound:.3f}×"]
            row.append(f"{speedup:.3f}×{MARK if beyond_bound(speedup, bound) else ''}")
            row.append(f"{speedup / bound:.1%}")
            row += [_milliseconds(found.step_seconds(computed)) for computed in (True, False)]
            row.append(f"{sums['cache_bytes'] / 2**20:.2f} MiB")
        lines.append(f"| {' | '.join(row + ['-'] * (10 - len(row)))} |")
    return lines


def verdicts(runs: dict[str, Measured], bare: float, cost: dict[str, float]) -> dict[str, bool]:
    """Return each target and whether it was met."""
    step = runs[OFF].step_seconds(computed=True) or 0.0
    session = cost["navicache, nothing skipped"] / 1e6
    found = {
        f"session {1e3 * session:.3f} ms a computed step, target under {1e3 * TARGET_SECONDS:g} ms": (
            session < TARGET_SECONDS
        ),
        f"that is {session / step:.4%} of it, target under {TARGET_SHARE:.1%}": session / step < TARGET_SHARE,
    }
    for name in SETTINGS:
        share = bare / runs[name].denoise_s / runs[name].totals["speedup_bound"]
        found[f"{name}: {share:.1%} of what its skipped steps allow, target {TARGET_EFFICIENCY:.0%}"] = (
            share >= TARGET_EFFICIENCY
        )
    return found


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1e3 * seconds:.3f} ms"


def document(
    pipeline: Pipeline, plan: Plan, runs: dict[str, Measured], cost: dict[str, float]
) -> dict[str, Any]:
    """Collect everything measured, as plain JSON values."""
    bare = (runs["bare"].denoise_s + runs["bare again"].denoise_s) / 2
    return {
        "plan": plan.values(),
        "model": plain(pipeline.identity),
        "machine": plain(machine_facts()),
        "bare_denoise_s": bare,
        "session_us_a_step": cost,
        "targets": verdicts(runs, bare, cost),
        "runs": {name: asdict(found) for name, found in runs.items()},
    }


def markdown(found: dict[str, Any], runs: dict[str, Measured]) -> str:
    """Show the document as a page."""
    plan, drift = found["plan"], runs["bare again"].denoise_s / runs["bare"].denoise_s - 1
    title = f"{found['model']['name']}, {plan['size']}, {plan['frames']} frames, {plan['steps']} steps"
    cost = ", ".join(f"{name} {micros:g}" for name, micros in found["session_us_a_step"].items())
    rows = table(runs, found["bare_denoise_s"])
    lines = [
        f"# {title}, {plan['weights']} weights",
        "",
        ", ".join(f"{key} {value}" for key, value in found["machine"].items()),
        *["", *rows, ""],
        *([BEYOND, ""] if any(f"×{MARK}" in row for row in rows) else []),
        f"Speedups are of denoising time against the mean of both bare runs; the later took {drift:+.2%}.",
        f"The session by itself, microseconds per step: {cost}.",
        *["", *(f"- {'met' if met else 'MISSED'}: {target}" for target, met in found["targets"].items())],
    ]
    return "\n".join(lines) + "\n"


def parse() -> argparse.Namespace:
    """Read the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--repo", default="", help="the official checkout; default: looked for as usual")
    parser.add_argument("--task", default="t2v-1.3B")
    parser.add_argument("--weights", default="random", help="random-small runs on a CPU, to try this program")
    parser.add_argument("--size", default="832x480")
    parser.add_argument("--frames", default="81")
    parser.add_argument("--steps", default="50")
    parser.add_argument("--align-steps", default="10")
    parser.add_argument("--offload", action="store_true", help="as the official program does by default")
    parser.add_argument("--runs", type=int, default=50, help="of the session by itself, for its cost")
    parser.add_argument("--out", type=Path, default=Path("gpu-check"), help="folder of the results")
    return parser.parse_args()


def main() -> None:
    """Measure; write gpu-check.md and gpu-check.json, and print the first."""
    options = vars(parse())
    out, runs_alone = options.pop("out"), options.pop("runs")
    plan = build_plan({"model": "wan", **options}, [], None, {})
    backend = get_backend("wan")
    print(*backend.check(plan), sep="\n", file=sys.stderr)
    out.mkdir(parents=True, exist_ok=True)
    pipeline = backend.load(plan)
    runs = measure_all(pipeline, plan)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # Wan2.1's latents: 16 channels, strides (4, 8, 8).
    latents = torch.randn(16, (plan.frames - 1) // 4 + 1, plan.height // 8, plan.width // 8, device=device)
    found = document(pipeline, plan, runs, session_cost(latents, runs_alone))
    (out / "gpu-check.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (out / "gpu-check.md").write_text(markdown(found, runs), encoding="utf-8")
    print(markdown(found, runs), end="")


if __name__ == "__main__":
    try:
        main()
    except NavicacheError as error:
        show_error(error)
        sys.exit(error.exit_code)
