"""What a video depends on, and what of it belongs to a setting, which many videos share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from navicache_cli.cache.policies.budget import share_of
from navicache_cli.cache.policies.factory import METHODS, method_called
from navicache_cli.plan.keys import SETTINGS, own_settings
from navicache_cli.plan.option import Use
from navicache_cli.plan.options import options_with
from navicache_cli.plan.schedules import SCHEDULE_IGNORES

_NOT_IN_VIDEO = options_with(Use.OUTPUT | Use.MEASURED | Use.PLACE)
_SUBJECT = options_with(Use.SUBJECT)


def in_video(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a video depends on.

    Args:
        values: a plan's, as `Plan.values` or a report has them; other keys are kept.
    """
    method = values.get("method", "")
    ignored = {*_NOT_IN_VIDEO, *SETTINGS} - {*own_settings(method)}
    if method in METHODS:
        ignored.update(method_called(method).ignores)
    if share_of(values.get("speedup", 0.0), values.get("compute", 0.0)):
        ignored.add("threshold")  # A budget sets it.
    if values.get("schedule"):
        ignored.update(SCHEDULE_IGNORES)
    return {name: value for name, value in values.items() if name not in ignored}


def setting_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a video's setting is made of: of all it depends on, what is not its subject.

    `mode` is among them, although it only names values of others.
    """
    return {name: value for name, value in in_video(values).items() if name not in _SUBJECT}
