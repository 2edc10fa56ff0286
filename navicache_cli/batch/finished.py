"""The finished videos of a batch, as their reports tell of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from navicache_cli.batch.folder import REPORTS, VIDEOS, report_name
from navicache_cli.batch.names import check_path
from navicache_cli.cache.policies.budget import budget_name, share_of
from navicache_cli.errors import NavicacheError
from navicache_cli.media.metrics import FROM_FRAMES
from navicache_cli.plan.options import BUILT_IN
from navicache_cli.plan.presets import OFF
from navicache_cli.plan.setting import setting_of
from navicache_cli.report.report import Report, read_report
from navicache_cli.report.speed import beyond_bound, skip_bound

Options = tuple[tuple[str, str], ...]  # of a setting: names and values


@dataclass(frozen=True)
class Finished:
    """What is kept of a finished video's report.

    Attributes:
        name: below the folder of videos.
        model: its name in the report.
        options: what its setting is.
        computed: of each step, whether the model ran.
        facts: the other values of a `summary.Video`.
    """

    name: str
    model: str
    options: Options
    computed: list[bool]
    facts: dict[str, Any]


def read_finished(root: Path, names: Sequence[str]) -> tuple[list[Finished], list[str]]:
    """Read the reports of finished videos; return them and the names of those that cannot be read."""
    found, unread = [], []
    for name in names:
        try:
            # A manifest may have been edited: a name must not lead out of the folder.
            check_path(name, "manifest")
            found.append(_read(name, read_report(root / REPORTS / report_name(name))))
        except (NavicacheError, KeyError, ValueError, TypeError, ArithmeticError):
            unread.append(name)
    return found, unread


def _read(name: str, report: Report) -> Finished:
    """Keep what is summed up; reports of many videos would fill the memory.

    Raises:
        KeyError, ValueError, TypeError, ArithmeticError: an option is missing or none, or there are no steps.
    """
    computed = [step.computed for step in report.steps]
    values = {**BUILT_IN, **report.plan_values(), "steps": len(computed)}  # an older plan has fewer options
    speedup = report.baseline.speedup if report.baseline else None
    fidelity = report.baseline.fidelity if report.baseline else {}
    facts = {
        "prompt": str(values["prompt"]),
        "seed": int(values["seed"]),
        "steps": len(computed),
        "skipped": computed.count(False),
        "skip_ratio": computed.count(False) / len(computed),
        "denoise_s": report.timings_s.denoise,
        "total_s": report.timings_s.total,
        "speedup": speedup,
        "fidelity": {key: fidelity.get(key) for key in FROM_FRAMES},
        "beyond_bound": beyond_bound(speedup, skip_bound(report.totals)),
        "clock": report.timings_s.clock,
        "video": f"{VIDEOS}/{name}",
        "report": f"{REPORTS}/{report_name(name)}",
    }
    return Finished(name, report.model.name, _options(values), computed, facts)


def _options(values: dict[str, Any]) -> Options:
    """Return what a plan's setting is; a budget stands in the place of its mode."""
    setting = setting_of(values)
    share = share_of(setting.pop("speedup"), setting.pop("compute"))
    if share:
        setting.update(mode=budget_name(share), compute=share)
    elif setting["method"] == OFF:
        setting["mode"] = OFF
    return tuple((key, str(value)) for key, value in setting.items())
