"""`navicache replay`: what other methods and thresholds would have decided on recorded generations."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from rich.table import Table
from rich.text import Text

from navicache_cli import terminal
from navicache_cli.cache.policies.budget import check_budget, share_of
from navicache_cli.errors import UsageError
from navicache_cli.plan.core_errors import told_in_options
from navicache_cli.plan.sweep import parse_sweep
from navicache_cli.replay.replays import Outcome, Recording, choose_settings, play, read_recordings, to_json
from navicache_cli.values import read_number, split_commas

_WIDEST_STRIP = 100  # steps: a longer strip breaks the table's lines
_EXAMPLES = {"threshold": "0.05,0.07", "compute": "0.5,0.6", "speedup": "1.5,2"}


def replay(
    sources: list[Path],
    methods: str = "",
    thresholds: str = "",
    align_steps: int | None = None,
    estimators: str = "",
    sweeps: Sequence[str] = (),
    compute: str = "",
    speedup: str = "",
    as_json: bool = False,
    picture: Path | None = None,
    dark: bool = False,
) -> None:
    """Replay recordings and print what each setting would have computed.

    Args:
        sources: reports of `generate --trajectory`, of one model, task and number of steps.
        methods, estimators: names with commas between; see `replays.choose_settings`.
        thresholds, compute, speedup: numbers with commas between; the last two are budgets.
        align_steps: A; the recording's if None.
        sweeps: `METHOD.threshold=LOW:HIGH:COUNT`.
        as_json: print all decisions as JSON, nothing else.
        picture: a .png or .svg to draw, replaced if it is there.
        dark: light text on a dark ground.

    Raises:
        UsageError: an option makes no sense, or a method needs more than was recorded.
        OutputError: a source cannot be read or holds no trajectory; the picture cannot be written.
        BackendError: a picture was asked for and matplotlib is not installed.
    """
    if picture is not None:
        from navicache_cli.plots.theme import check_picture

        check_picture(picture)
    parsed = [parse_sweep(text) for text in sweeps]
    recordings = read_recordings(sources)
    settings = choose_settings(
        recordings[0].plan,
        list(filter(None, split_commas(methods))),
        _numbers("threshold", thresholds),
        align_steps,
        list(filter(None, split_commas(estimators))),
        parsed,
        _shares(compute, speedup),
    )
    started = time.perf_counter()
    outcomes = play(recordings, settings)
    seconds = time.perf_counter() - started
    if picture is not None:
        _draw(picture, recordings, outcomes, dark)
    if as_json:
        print(json.dumps(to_json(recordings, outcomes, seconds), indent=1))
        return
    terminal.stdout.print(_table(outcomes))
    counts = f"{len(settings)} settings on {len(recordings)} recording{'s' if len(recordings) > 1 else ''}"
    terminal.stdout.print(Text(f"{counts} in {seconds * 1000:.1f} ms", style="dim"))
    if picture is not None:
        terminal.show_path(picture)


def _draw(path: Path, recordings: Sequence[Recording], outcomes: Sequence[Outcome], dark: bool) -> None:
    from navicache_cli.plots.theme import DARK, LIGHT, drawing, save

    theme = DARK if dark else LIGHT
    with drawing(theme):
        from navicache_cli.plots.replay import draw_replay

        plan = recordings[0].plan
        title = f"{plan.get('model', '')}  ·  {plan.get('task', '')}  ·  replayed"
        save(draw_replay(outcomes, title, theme), path)


def _table(outcomes: Sequence[Outcome]) -> Table:
    """One row per setting; with one recording also its strip of steps."""
    alone = len(outcomes[0].runs) == 1
    drawn = alone and len(outcomes[0].runs[0]) <= _WIDEST_STRIP
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("method", "threshold", "align", "computed", "ratio", "at most"):
        justify = "left" if heading == "method" else "right"
        table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    if drawn:
        table.add_column("steps", overflow="fold")
    for outcome in outcomes:
        setting, ratios = outcome.setting, outcome.compute_ratios
        spread = "" if alone else f" ({min(ratios):.0%} to {max(ratios):.0%})"
        row: list[str | Text] = [
            setting.line,
            f"budget {setting.compute:.3g}" if setting.compute else f"{setting.threshold:g}",
            str(setting.align_steps),
            f"{fmean(outcome.computed):g}" if alone else f"{fmean(outcome.computed):.1f}",
            f"{fmean(ratios):.0%}{spread}",
            f"{1 / fmean(ratios):.2f}x",
        ]
        if drawn:
            cells = [step.decision.compute for step in outcome.runs[0]]
            row.append(terminal.strip(cells, terminal.stdout))
        table.add_row(*row)
    return table


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [read_number(word) for word in split_commas(text) if word]
    except ValueError:
        raise UsageError(
            f"{option} expects numbers separated by commas, found {text[:60]!r}",
            f"--{option} {_EXAMPLES[option]}",
        ) from None


def _shares(compute: str, speedup: str) -> list[float]:
    """Budgets as shares of the steps to compute."""
    shares, speedups = _numbers("compute", compute), _numbers("speedup", speedup)
    for option, numbers in (("compute", shares), ("speedup", speedups)):
        for number in numbers:
            with told_in_options():
                check_budget(option, number)
    return [*shares, *(share_of(number, 0) for number in speedups)]
