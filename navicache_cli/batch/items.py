"""From rows to items: one video each, with its plan and its name; all is checked before any work starts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from navicache_cli.batch.names import check_path, check_template, make_name, same_file
from navicache_cli.batch.rows import Row
from navicache_cli.errors import UsageError
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.option import Use
from navicache_cli.plan.options import options_with
from navicache_cli.plan.plan import MOST_VIDEOS, Plan, resolve
from navicache_cli.plan.presets import OFF
from navicache_cli.plan.setting import in_video
from navicache_cli.run.names import slug
from navicache_cli.values import WHOLE_LIMIT, read_integer, split_commas

# What a pipeline is loaded by: one batch, one model.
LOADED_BY = options_with(Use.LOADS)
Setting = dict[str, str]  # a mode, a method, or both, that all rows are made with


@dataclass(frozen=True)
class Item:
    """One video of a batch.

    Attributes:
        name: its path below the folder of videos, with / between folders.
        where: the row it is from, for people.
        prompt, seed: its own.
        settings: a plan with everything else, shared by items that have the same.
        turn: items of the same turn go to the same shard; see `in_shard`.
    """

    name: str
    where: str
    prompt: str
    seed: int
    settings: Plan
    turn: int

    def plan(self, folder: Path, overwrite: bool = False) -> Plan:
        """Return the plan of the video, which goes to `folder`."""
        provenance = {**self.settings.provenance, "prompt": self.where, "seed": self.where, "output": "batch"}
        return replace(
            self.settings,
            prompt=self.prompt,
            seed=self.seed,
            output=str(folder / self.name),
            overwrite=overwrite,
            provenance=provenance,
        )

    def fingerprint(self) -> str:
        """Return a digest of all that determines the video and its report."""
        return fingerprint({**self.settings.values(), "prompt": self.prompt, "seed": self.seed})


def for_fingerprint(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a plan's values by which videos with their reports are told apart."""
    measured = {name: values[name] for name in options_with(Use.MEASURED) if name in values}
    return {**in_video(values), **measured}


def fingerprint(values: Mapping[str, Any]) -> str:
    """Return the digest of a plan's values: the same for two plans of one video and its report."""
    return hashlib.sha256(json.dumps(for_fingerprint(values), sort_keys=True).encode()).hexdigest()[:32]


def make_items(
    rows: Sequence[Row],
    layers: Sequence[Layer],
    file: str,
    template: str,
    seeds: int,
    settings: list[Setting],
) -> list[Item]:
    """Plan and name the videos of all rows: for each row, each seed in each setting.

    Args:
        rows: as read; their options win over `layers`.
        layers: the options of all rows, weakest first.
        file: name of the rows' file, as the source of their options.
        template: of the videos' names.
        seeds: how many videos of each row and setting; their seeds follow one another.
        settings: see `make_settings`.

    Raises:
        UsageError: with the row: a wrong option, a model that differs, a name that is unsafe or taken, or
            whose folder is another one's file; or more than `MOST_VIDEOS`.
    """
    check_template(template)
    count = len(rows) * seeds * len(settings)
    if count > MOST_VIDEOS:
        raise UsageError(
            f"expected at most {MOST_VIDEOS:,} videos in one batch, found {count:,}: {len(rows)} rows, "
            f"{seeds} seeds of each, {len(settings)} settings",
            f"--seeds {max(1, MOST_VIDEOS // (len(rows) * len(settings)))}, or several files of prompts",
        )
    items: list[Item] = []
    taken: dict[str, str] = {}
    plans: dict[str, Plan] = {}
    first = None
    for row in rows:
        for setting in settings:
            try:
                plan = _settings_plan(row, setting, layers, file, plans)
                prompt, seed = _own_values(row, plan, seeds)
            except UsageError as error:
                raise UsageError(f"{row.where}: {error.message}", error.hint) from None
            first = first or plan
            _check_same_model(plan, first, row.where, rows[0].where)
            for n in range(seeds):
                name = _name(row, template, plan, prompt, seed + n, n)
                key = same_file(name)
                if key in taken:
                    raise UsageError(
                        f"{row.where}: the name {name[:100]!r} is taken by {taken[key]}",
                        "add {row}, {seed}, {n}, {method} or {mode} to --name, or remove one of them",
                    )
                taken[key] = row.where
                items.append(Item(name, row.where, prompt, seed + n, plan, row.number + n))
    _check_folders(items)
    return items


def make_settings(methods: str | None, modes: str | None, rows: Sequence[Row]) -> list[Setting]:
    """Combine `--methods` and `--modes`; mode off has no method.

    Raises:
        UsageError: an empty entry, one that is there twice, or a row that has its own mode or method.
    """
    listed: dict[str, list[str]] = {}
    for option, text in (("mode", modes), ("method", methods)):
        values = [] if text is None else split_commas(text)
        if text is not None and (not all(values) or len(set(values)) < len(values)):
            raise UsageError(
                f"--{option}s expects different names separated by commas, found {text[:60]!r}", _HINT
            )
        listed[option] = values
        for row in rows:
            if values and option in row.options:
                raise UsageError(
                    f"{row.where}: has a {option} of its own, and --{option}s was given", f"drop --{option}s"
                )
    found: list[Setting] = []
    for mode in listed["mode"] or [""]:
        for method in ["off"] if mode == OFF else listed["method"] or [""]:
            found.append({key: value for key, value in (("mode", mode), ("method", method)) if value})
    return found


def read_shard(text: str | None) -> tuple[int, int]:
    """Read `I/N`; nothing is 1/1.

    Raises:
        UsageError: not two numbers with 1 <= I <= N.
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text or "1/1")
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard expects I/N with 1 <= I <= N, found {str(text)[:60]!r}", "--shard 1/8")
    return int(match[1]), int(match[2])


def in_shard(items: Sequence[Item], shard: tuple[int, int]) -> Iterator[Item]:
    """Yield the items of a shard: every item is in exactly one of N, whatever rows are added after it.

    The settings of a prompt and seed stay together, so that every shard has its share of slow ones.
    """
    part, parts = shard
    return (item for item in items if item.turn % parts == part - 1)


def _check_folders(items: Sequence[Item]) -> None:
    """Check that no video is to lie in a folder of the name of another one's file, or of its report."""
    files = {same_file(item.name): item for item in items}
    files.update({same_file(f"{item.name.removesuffix('.mp4')}.json"): item for item in items})
    for item in items:
        folder = item.name.rpartition("/")[0]
        while folder:
            other = files.get(same_file(folder))
            if other is not None:
                raise UsageError(
                    f"{item.where}: the name {item.name[:100]!r} needs a folder {folder[-60:]!r}, which is a "
                    f"file of {other.where}",
                    "rename one of them",
                )
            folder = folder.rpartition("/")[0]


def _settings_plan(
    row: Row, setting: Setting, layers: Sequence[Layer], file: str, known: dict[str, Plan]
) -> Plan:
    """Resolve a row's options but for those that every row has its own of, once for all rows alike."""
    options = {key: value for key, value in row.options.items() if key not in ("prompt", "seed", "output")}
    key = json.dumps([options, setting], sort_keys=True)
    if key not in known:
        plan = resolve([*layers, Layer(file, options), Layer("--{name}s", setting)])
        if plan.output:
            raise UsageError(f"output expects nothing in a batch, found {plan.output[:60]!r}", "use --name")
        known[key] = plan
    return known[key]


def _own_values(row: Row, plan: Plan, seeds: int) -> tuple[str, int]:
    """Return a row's prompt and the first of its seeds."""
    prompt = row.options.get("prompt", plan.prompt)
    if "prompt" not in row.options and plan.provenance["prompt"].startswith("preset"):
        raise UsageError("expected a prompt, found none", "write one, or give one to all rows with --prompt")
    try:
        seed = read_integer(row.options.get("seed", plan.seed))
    except ValueError as error:
        raise UsageError(f"seed expects {error}, found {str(row.options['seed'])[:60]!r}", _HINT) from None
    if not -WHOLE_LIMIT <= seed <= WHOLE_LIMIT - seeds:
        raise UsageError(f"seed expects a 64-bit whole number, found {seed}", _HINT)
    return prompt, seed


def _name(row: Row, template: str, plan: Plan, prompt: str, seed: int, n: int) -> str:
    if "output" in row.options:
        template = str(row.options["output"])
        check_path(template, row.where)
        return template
    fields = {"row": f"{row.number:04}", "prompt": prompt, "slug": slug(prompt), "n": n, "seed": seed}
    return make_name(
        template,
        {**fields, "model": plan.model, "task": plan.task, "mode": plan.pace, "method": plan.method},
        row.where,
    )


def _check_same_model(plan: Plan, first: Plan, where: str, first_where: str) -> None:
    for option in LOADED_BY:
        found, expected = getattr(plan, option), getattr(first, option)
        if found != expected:
            raise UsageError(
                f"{where}: a batch loads one model; expected {option.replace('_', '-')} {expected!r} as in "
                f"{first_where}, found {found!r}",
                "one file for each model",
            )


_HINT = "see navicache batch --help"
