"""Measure on a GPU what caching costs and gains on an official model; run by gpu_check.sh.

Time does not depend on what the weights are, but decisions do, and random ones give any ratio. So the
settings here have no threshold but a budget: each computes as many steps as the published runs did. What is
compared is the speedup reached with the one that the skipped steps allow, the peak of the GPU's memory with
the one that `navicache memory` expects, and the run under an idle session with the bare one.

Results are written after every run. Started again with the same options, it goes on with the runs that are
not there yet.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from measure_overhead import session_cost

from backends.official.official import RANDOM, SMALL
from backends.protocol import Pipeline, Stages
from backends.registry import get_backend
from navicache_cli.errors import NavicacheError, UsageError
from navicache_cli.files import write_together
from navicache_cli.plan.plan import Plan, build_plan
from navicache_cli.plan.presets import OFF, preset_for
from navicache_cli.reading import read_utf8
from navicache_cli.report.documents import plain
from navicache_cli.report.peak_memory import PeakMemory
from navicache_cli.report.report import machine_facts
from navicache_cli.report.speed import BEYOND, MARK, beyond_bound
from navicache_cli.report.steps import step_reports
from navicache_cli.run.runner import run, totals, warm_up_plan
from navicache_cli.terminal import StepProgress, show_error, show_note

BARE, AGAIN = "bare", "bare again"
# Options of each run. Speedups as published for Wan2.1-1.3B: NaviCache arXiv 2606.26795, EasyCache arXiv
# 2507.02860.
RUNS: dict[str, dict[str, Any]] = {
    BARE: {},
    OFF: {"method": OFF},
    "fast": {"method": "navicache", "speedup": 2.23},
    "calibrated": {"method": "navicache", "predictor": "calibrated", "speedup": 2.0},
    "measured": {"method": "navicache", "threshold": 0.0},  # nothing skipped
    "mid": {"method": "navicache", "speedup": 2.01},
    "slow": {"method": "navicache", "speedup": 1.86},
    "easycache": {"method": "easycache", "speedup": 2.54},
    AGAIN: {},
}
DEFAULT = (BARE, OFF, "fast", "calibrated")
TARGET_SHARE, TARGET_SECONDS, TARGET_EFFICIENCY, TARGET_MEMORY = 0.001, 0.001, 0.98, 0.05


@dataclass
class Measured:
    """One generation.

    Attributes:
        seconds: wall-clock seconds of all its stages.
        denoise_s: of all steps, the solver's part included.
        peak_bytes: the most memory in use at once during it.
        expected_gib: what `navicache memory` expects, or None.
        steps: the records, as in a report; empty for the bare pipeline.
        totals: as in a report; empty for the bare pipeline.
    """

    seconds: float
    denoise_s: float
    peak_bytes: int
    expected_gib: float | None
    steps: list[dict[str, Any]]
    totals: dict[str, Any]

    def step_seconds(self, computed: bool) -> float | None:
        """Median seconds inside the cached region of the steps that were computed, or of the others."""
        seconds = [step["seconds"] for step in self.steps if step["computed"] == computed]
        return statistics.median(seconds) if seconds else None


def expected_gib(plan: Plan) -> float | None:
    """The peak on a GPU that `navicache memory` expects of a plan, in GiB; None where it does not know."""
    moves = [name for name in ("offload", "t5_cpu") if name in preset_for(plan.model).takes]
    names = ["model", "task", "size", "frames", "method", "predictor", *moves]
    asked = [f"--set={name}={getattr(plan, name)}" for name in names]
    command = [sys.executable, "-m", "navicache_cli", "memory", *asked, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return peak_of(json.loads(done.stdout), plan.weights) if done.returncode == 0 else None


def peak_of(document: dict[str, Any], weights: str) -> float | None:
    """Read the peak of a run from what `navicache memory --json` says; None for a small model.

    With random weights text encoder and VAE are small stand-ins: what a transformer takes is the peak.
    """
    if weights == SMALL:
        return None
    if weights != RANDOM:
        return float(document["peak_gib"])
    stage = document["stages"]["denoise"]
    transformers = (size for part, size in stage["weights"].items() if part.endswith("transformer"))
    return float(sum(transformers) + stage["activations"] + stage["cache"])


def measure(pipeline: Pipeline, plan: Plan, name: str) -> Measured:
    """Generate once: under a session, or with nothing attached."""
    started, on_gpu = time.perf_counter(), torch.cuda.is_available()
    if name in (BARE, AGAIN):
        expected = expected_gib(replace(plan, method=OFF)) if on_gpu else None
        stages, peak = Stages(), PeakMemory()
        pipeline.generate(plan, stages)
        seconds = stages.seconds["denoise"]
        return Measured(time.perf_counter() - started, seconds, peak.read().bytes, expected, [], {})
    expected = expected_gib(plan) if on_gpu else None
    with StepProgress(name, plan.steps, quiet=False) as progress:
        result = run(pipeline, plan, on_step=progress)
    sums = plain(totals(result))
    return Measured(
        time.perf_counter() - started, result.seconds["denoise"], sums["peak_memory_bytes"], expected,
        [plain(step) for step in step_reports(result.session)], sums,
    )  # fmt: skip


def share_of(name: str) -> float:
    """The share of its steps that a run computes, to foresee how long it takes."""
    return 1 / RUNS[name].get("speedup", 1.0)


class Check:
    """The runs of one plan, and the folder they are kept in.

    Args:
        facts: plan, model and machine; results of others are not mixed with these.
        out: the folder.

    Raises:
        UsageError: the folder has results of another plan, model or machine.
    """

    def __init__(self, facts: dict[str, Any], out: Path) -> None:
        self.facts = json.loads(json.dumps(facts))
        self.path = out / "gpu-check.json"
        self.page = out / "gpu-check.md"
        self.runs: dict[str, Measured] = {}
        self.cost: dict[str, float] = {}
        if self.path.exists():
            try:
                found = json.loads(read_utf8(self.path))
                self.runs = {name: Measured(**kept) for name, kept in found["runs"].items()}
                self.cost = found["session_us_a_step"]
            except (OSError, ValueError, TypeError, KeyError, AttributeError):
                raise UsageError(
                    f"expected results of gpu_check.py in {self.path}, found something else",
                    "--out another-folder",
                ) from None
            other = [key for key, value in self.facts.items() if found.get(key) != value]
            if other:
                raise UsageError(
                    f"expected results of this plan, model and machine in {self.path}, found another "
                    f"{' and '.join(other)}",
                    "--out another-folder",
                )

    @property
    def reference_s(self) -> float | None:
        """Seconds of uncached denoising: bare runs where there are any, else that under an idle session."""
        bare = [self.runs[name].denoise_s for name in (BARE, AGAIN) if name in self.runs]
        idle = [self.runs[OFF].denoise_s] if OFF in self.runs else []
        return statistics.mean(bare or idle) if bare or idle else None

    def seconds_for(self, name: str) -> float:
        """Foresee how long a run takes: by the longest so far, which computed all steps."""
        return share_of(name) * max((found.seconds for found in self.runs.values()), default=0.0)

    def write(self) -> None:
        """Write what there is so far."""
        document = {
            **self.facts, "uncached_denoise_s": self.reference_s, "session_us_a_step": self.cost,
            "targets": verdicts(self), "runs": {name: asdict(found) for name, found in self.runs.items()},
        }  # fmt: skip
        write_together({self.path: json.dumps(document, indent=1) + "\n", self.page: markdown(self)})


def table(check: Check) -> list[str]:
    """Tabulate the generations in Markdown."""
    names = (
        "run", "denoising", "computed", "at most", "measured", "of that", "a computed step", "a skipped step",
        "cache", "peak", "expected",
    )  # fmt: skip
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for name, found in check.runs.items():
        row, sums = [name, f"{found.denoise_s:.2f} s"], found.totals
        if sums and check.reference_s:
            speedup, bound = check.reference_s / found.denoise_s, sums["speedup_bound"]
            row += [f"{sums['computed_steps']} of {sums['steps']}", f"{bound:.3f}×"]
            row.append(f"{speedup:.3f}×{MARK if beyond_bound(speedup, bound) else ''}")
            row.append(f"{speedup / bound:.1%}")
            row += [_milliseconds(found.step_seconds(computed)) for computed in (True, False)]
            row.append(f"{sums['cache_bytes'] / 2**20:.2f} MiB")
        row += ["-"] * (len(names) - 2 - len(row))
        expected = "-" if found.expected_gib is None else f"{found.expected_gib:.2f} GiB"
        lines.append(f"| {' | '.join([*row, f'{found.peak_bytes / 2**30:.2f} GiB', expected])} |")
    return lines


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1e3 * seconds:.3f} ms"


def verdicts(check: Check) -> dict[str, bool]:
    """Return each target that can be judged so far, and whether it was met."""
    found: dict[str, bool] = {}
    session = check.cost.get("navicache, nothing skipped", 0.0) / 1e6
    step = check.runs[OFF].step_seconds(computed=True) if OFF in check.runs else None
    if check.cost and step:
        told = f"session {1e3 * session:.3f} ms a computed step, target under {1e3 * TARGET_SECONDS:g} ms"
        found[told] = session < TARGET_SECONDS
        told = f"that is {session / step:.4%} of it, target under {TARGET_SHARE:.1%}"
        found[told] = session / step < TARGET_SHARE
    for name, one in check.runs.items():
        if "speedup" in RUNS[name] and check.reference_s:
            share = check.reference_s / one.denoise_s / one.totals["speedup_bound"]
            told = f"{name}: {share:.1%} of what its skipped steps allow, target {TARGET_EFFICIENCY:.0%}"
            found[told] = share >= TARGET_EFFICIENCY
        if one.expected_gib is not None:
            off = one.peak_bytes / 2**30 / one.expected_gib - 1
            told = f"{name}: peak {off:+.1%} from what is expected, target within {TARGET_MEMORY:.0%}"
            found[told] = abs(off) <= TARGET_MEMORY
    return found


def markdown(check: Check) -> str:
    """Show the results as a page."""
    plan, rows = check.facts["plan"], table(check)
    title = f"{check.facts['model']['name']}, {plan['size']}, {plan['frames']} frames, {plan['steps']} steps"
    cost = ", ".join(f"{name} {micros:g}" for name, micros in check.cost.items())
    lines = [
        f"# {title}, {plan['weights'] or 'the default'} weights",
        "",
        ", ".join(f"{key} {value}" for key, value in check.facts["machine"].items()),
        *["", *rows, ""],
        *([BEYOND, ""] if any(f"×{MARK}" in row for row in rows) else []),
        "Speedups are of denoising time against the bare runs, or against off where there is none.",
        *([f"The session by itself, microseconds per step: {cost}."] if cost else []),
        *["", *(f"- {'met' if met else 'MISSED'}: {target}" for target, met in verdicts(check).items())],
    ]
    return "\n".join(lines) + "\n"


def measure_all(check: Check, pipeline: Pipeline, plan: Plan, names: list[str], ends: float) -> list[str]:
    """Run what is not there yet, and write after each; return what there was no time for."""
    waiting = [name for name in names if name not in check.runs]
    if waiting:
        run(pipeline, warm_up_plan(replace(plan, method=OFF)))
    while waiting and time.perf_counter() + check.seconds_for(waiting[0]) < ends:
        name = waiting.pop(0)
        check.runs[name] = measure(pipeline, replace(plan, **RUNS[name]), name)
        check.write()
    return waiting


def parse() -> argparse.Namespace:
    """Read the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--model", default="wan")
    parser.add_argument("--task", help="default: the preset's, t2v-1.3B for wan")
    parser.add_argument("--repo", help="the official checkout; default: looked for as usual")
    parser.add_argument("--weights", help="default: random; random-small runs on a CPU, to try this program")
    parser.add_argument("--size", help="default: the preset's, 832x480 for wan")
    parser.add_argument("--frames", help="default: the preset's, 81 for wan")
    parser.add_argument("--steps", help="default: the preset's, 50 for wan")
    parser.add_argument("--align-steps")
    parser.add_argument("--offload", action="store_true", help="as the official program does by default")
    parser.add_argument("--only", default=",".join(DEFAULT), help=f"all, or some of {', '.join(RUNS)}")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no run that ends later")
    parser.add_argument("--session-runs", type=int, default=20, help="of the session by itself; 0: none")
    parser.add_argument("--out", type=Path, default=Path("gpu-check"), help="folder of the results")
    return parser.parse_args()


def main() -> None:
    """Measure; write gpu-check.md and gpu-check.json, and print the first."""
    options = vars(parse())
    own = {name: options.pop(name) for name in ("only", "minutes", "session_runs", "out")}
    ends = time.perf_counter() + 60 * own["minutes"]
    names = list(RUNS) if own["only"] == "all" else [name.strip() for name in own["only"].split(",")]
    for name in names:
        if name not in RUNS:
            raise UsageError(f"--only expects some of {', '.join(RUNS)}, found {name!r}", "--only all")
    for name in ("minutes", "session_runs"):
        if not own[name] >= 0:  # nor NaN
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} expects a number of at least 0, found {own[name]}", f"drop {flag}")
    preset = preset_for(options["model"])
    if preset.repository and not options["weights"]:
        options["weights"] = RANDOM
    if "offload" not in preset.takes:
        del options["offload"]
    plan = build_plan(options, [], None, {})
    backend = get_backend(plan.model)
    for note in backend.check(plan):
        show_note(note)
    pipeline = backend.load(plan)
    facts = {
        "plan": plan.values(), "model": plain(pipeline.identity), "machine": plain(machine_facts()),
    }  # fmt: skip
    own["out"].mkdir(parents=True, exist_ok=True)
    check = Check(facts, own["out"])
    left = measure_all(check, pipeline, plan, names, ends)
    if own["session_runs"] and not check.cost:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        # Latents of Wan2.1 and of tiny: 16 channels, strides (4, 8, 8).
        shape = (16, (plan.frames - 1) // 4 + 1, plan.height // 8, plan.width // 8)
        check.cost = session_cost(torch.randn(shape, device=device), own["session_runs"], torch.no_grad)
    check.write()
    if left:
        show_note(f"no time for {', '.join(left)}; the same command goes on with them")
    print(check.page.read_text("utf-8"), end="")


if __name__ == "__main__":
    try:
        main()
    except NavicacheError as error:
        show_error(error)
        sys.exit(error.exit_code)
