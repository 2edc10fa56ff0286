"""Records that navicache keeps for itself, each with a digest: an edited or damaged one counts as none."""

from __future__ import annotations

import hashlib
import json
from typing import Any, TypeVar

import msgspec

from navicache_cli.report.documents import as_part, plain

_DIGEST = "navicache_digest"


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of something that was measured; its keys are those of the file."""


RecordType = TypeVar("RecordType", bound=Record)


def record_text(record: Record) -> str:
    """Return a record as one line of JSON, its digest first."""
    facts = plain(record)
    return json.dumps({_DIGEST: _digest(facts), **facts}, allow_nan=False)


def read_record(text: str | bytes, kind: type[RecordType]) -> RecordType | None:
    """Return a record, or None where it is not as it was written, or of another kind."""
    try:
        facts: dict[str, Any] = json.loads(text)
        return as_part(facts, kind) if facts.pop(_DIGEST) == _digest(facts) else None
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def _digest(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
