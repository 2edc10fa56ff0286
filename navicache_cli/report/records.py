"""Records that navicache keeps for itself, each with a digest: an edited or damaged one counts as none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_DIGEST = "navicache_digest"


def record_text(facts: Mapping[str, Any]) -> str:
    """Return a record as one line of JSON, its digest first."""
    return json.dumps({_DIGEST: _digest(facts), **facts}, allow_nan=False)


def read_record(text: str | bytes) -> dict[str, Any] | None:
    """Return the facts of a record, or None where it is not as it was written."""
    try:
        facts: dict[str, Any] = json.loads(text)
        return facts if facts.pop(_DIGEST) == _digest(facts) else None
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
