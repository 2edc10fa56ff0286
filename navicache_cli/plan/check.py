"""Whether a plan fits its preset and common sense, as far as that shows without loading a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from navicache_cli.errors import UsageError
from navicache_cli.plan.keys import hint_for
from navicache_cli.plan.method import check_method
from navicache_cli.plan.option import Use
from navicache_cli.plan.options import BUILT_IN, OPTIONS, options_with
from navicache_cli.plan.presets import ANY, OFF, Preset, unknown
from navicache_cli.plan.sizes import sizes_in_pixels

if TYPE_CHECKING:
    from navicache_cli.plan.plan import Plan

MAX_PROMPT_CHARACTERS = 20_000


def check(plan: Plan, preset: Preset) -> None:
    """Check a plan against its preset and against common sense.

    Raises:
        UsageError: naming the option, what was expected and what was found.
    """

    def expect(fine: bool, option: str, expected: str, hint: str = "") -> None:
        if not fine:
            name = option.replace("_", "-")
            found = str(getattr(plan, option))[:60]
            raise UsageError(
                f"{name} expects {expected}, found {found!r} ({plan.provenance[option]})",
                hint or hint_for(option),
            )

    for option, row in OPTIONS.items():
        if row.choices and getattr(plan, option) not in row.choices:
            name = option.replace("_", "-")
            raise UsageError(unknown(name, getattr(plan, option), row.choices), hint_for(option))
    expect(len(plan.prompt) <= MAX_PROMPT_CHARACTERS, "prompt", f"at most {MAX_PROMPT_CHARACTERS} characters")
    expect(bool(plan.prompt.strip()), "prompt", "some words")
    for option, row in OPTIONS.items():
        if row.range is not None:
            value = getattr(plan, option)
            by_name = option == "frames" and value in preset.named_frames.values()
            expect(by_name or row.range.holds(value), option, row.range.expected)
    if preset.frame_rule == "4n+1":
        near = max(1, 4 * ((plan.frames - 1 + 2) // 4) + 1)
        expect(plan.frames % 4 == 1, "frames", "4n+1 (1, 5, 9, 13, 17, …)", f"the nearest is --frames {near}")
    task = preset.tasks[plan.task]
    sizes, pixels = task["sizes"], sizes_in_pixels(preset, task["sizes"])
    named = "" if pixels == sizes else ", or the pixels of one at an aspect ratio,"
    tasks = [name for name, its in preset.tasks.items() if plan.size in sizes_in_pixels(preset, its["sizes"])]
    elsewhere = f"{plan.size} is a size of --task {', '.join(tasks)}" if tasks else ""
    wanted = f"one of {', '.join(sizes)}{named} for {plan.model} {plan.task}"
    expect(ANY in sizes or plan.size in pixels, "size", wanted, elsewhere)
    known = ANY in preset.solvers or plan.solver in preset.solvers
    expect(known, "solver", f"one of {', '.join(preset.solvers)} for {plan.model}")
    for option in options_with(Use.FILE):
        name, expected, given = option.replace("_", "-"), OPTIONS[option].file, bool(getattr(plan, option))
        if option in task.get("inputs", []):
            expect(given, option, f"{expected} for {plan.model} {plan.task}", f"--{name} picture.png")
        elif option not in task.get("optional_inputs", []):
            expect(not given, option, f"nothing: {plan.model} {plan.task} takes no {name}", f"drop --{name}")
    for option in options_with(Use.FAMILY):
        taken = option in preset.takes or getattr(plan, option) == BUILT_IN[option]
        name = option.replace("_", "-")
        expect(taken, option, f"nothing: {plan.model} takes no {name}", f"drop --{name}")
    if plan.trajectory and plan.method != OFF:
        raise UsageError(
            f"trajectory expects a generation that computes every step, found method {plan.method!r} "
            f"({plan.provenance['method']})",
            "add --mode off",
        )
    check_method(plan, preset)
