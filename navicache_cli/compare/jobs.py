"""From settings, prompts and seeds to the generations to run, each with a key of what it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from navicache_cli.compare.settings import BASELINE, Setting
from navicache_cli.files import sha256_of
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.option import Use
from navicache_cli.plan.options import options_with
from navicache_cli.plan.plan import Plan, resolve
from navicache_cli.plan.setting import in_video
from navicache_cli.reading import expand_user
from navicache_cli.report.documents import plain

if TYPE_CHECKING:
    from navicache_cli.report.report import ModelIdentity

CELL_VERSION = 3
# The mode is only the name of a threshold, and weights are known by their digest.
_KNOWN_OTHERWISE = ("mode", "weights")
_KEY_DIGITS = 24  # 96 bits: short enough for a file name, no two alike


@dataclass(frozen=True)
class Job:
    """One cell to run, or to find on disk.

    Attributes:
        setting: one of the settings compared, or the baseline.
        prompt, seed: position of the prompt, and the seed itself.
        plan: what to generate.
        key: digest of everything the cell depends on; also its name on disk.
        baseline: key of the cell it is held against, "" if it is one itself.
    """

    setting: Setting
    prompt: int
    seed: int
    plan: Plan
    key: str
    baseline: str


def plan_for(layers: list[Layer], setting: Setting, prompt: str, seed: int) -> Plan:
    """Resolve the plan of one cell.

    Raises:
        UsageError: see `plan.resolve`.
    """
    return resolve([*layers, Layer("compare", {**setting.values, "prompt": prompt, "seed": seed})])


def list_jobs(
    layers: list[Layer],
    settings: Sequence[Setting],
    prompts: Sequence[str],
    seeds: Sequence[int],
    identities: Mapping[str, ModelIdentity],
    code: str,
) -> list[Job]:
    """List all cells in the order to run them.

    Prompt by prompt and seed by seed, first the baseline, then every setting, each time starting with another
    one: a machine that slows down or warms up in between does so to all settings alike.

    Args:
        layers: options all cells share.
        settings: to hold against the baseline.
        prompts, seeds: each with each.
        identities: weights and code of each runner.
        code: digest of the code; see `code.code_digest`.
    """
    jobs: list[Job] = []
    for turn, (prompt, seed) in enumerate((p, s) for p in range(len(prompts)) for s in seeds):

        def job(setting: Setting, baseline: str, prompt: int = prompt, seed: int = seed) -> Job:
            plan = plan_for(layers, setting, prompts[prompt], seed)
            key = cell_key(plan, setting, identities[setting.runner], code, baseline)
            return Job(setting, prompt, seed, plan, key, baseline)

        first = job(BASELINE, "")
        start = turn % len(settings)
        jobs += [first, *(job(setting, first.key) for setting in [*settings[start:], *settings[:start]])]
    return jobs


def cell_key(plan: Plan, setting: Setting, identity: ModelIdentity, code: str, baseline: str) -> str:
    """Digest what a cell depends on: plan, files it reads, weights, code, and what it is held against."""
    facts = {
        "version": CELL_VERSION,
        "code": code,
        "runner": setting.runner,
        "arguments": setting.arguments,
        "plan": what_matters(plan),
        "inputs": {name: _digests(paths) for name, paths in plan.files().items()},
        "model": plain(identity),
        "baseline": baseline,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:_KEY_DIGITS]


def what_matters(plan: Plan) -> dict[str, Any]:
    """Return the options of a plan that its video and its seconds depend on, apart from weights and code."""
    values = plan.values()
    names = [*in_video(values), *options_with(Use.SECONDS)]
    return {name: values[name] for name in names if name not in _KNOWN_OTHERWISE}


def _digests(paths: list[str]) -> list[str]:
    """SHA-256 of files; of one that is not there "", the model will say so."""
    return [sha256_of(expand_user(path)) for path in paths]
