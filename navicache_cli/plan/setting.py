"""What belongs to a setting: the options that videos of one setting share, and all that changes a video."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from navicache_cli.cache.policies.budget import share_of
from navicache_cli.cache.policies.factory import IGNORED_BY
from navicache_cli.plan.options import INPUTS

# What is measured beside a video, and where files go: the video is the same with other values of these.
MEASURED = ("baseline", "trajectory")
ASIDE = ("output", "output_dir", "overwrite", *MEASURED)
# Where the work is done: the same video, but for last bits.
PLACE = ("repo", "offload", "t5_cpu", "ulysses", "ring", "fsdp")
# What a video is of; a setting makes many.
SUBJECT = ("prompt", "negative_prompt", "seed", *INPUTS)


def in_video(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a video depends on.

    Args:
        values: a plan's, as `Plan.values` or a report has them; other keys are kept.
    """
    ignored = {*ASIDE, *PLACE, *IGNORED_BY.get(values.get("method", ""), ())}
    if share_of(values.get("speedup", 0.0), values.get("compute", 0.0)):
        ignored.add("threshold")  # A budget sets it.
    return {name: value for name, value in values.items() if name not in ignored}


def setting_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a video's setting is made of: of all it depends on, what is not its subject.

    `mode` is among them, although it only names values of others.
    """
    return {name: value for name, value in in_video(values).items() if name not in SUBJECT}
