"""JSON schemas that ship with the package, written by `scripts/write_schemas.py`; that of presets by hand."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def read_schema(name: str) -> dict[str, Any]:
    """Return the schema of a kind of document, such as "report"."""
    text = files(__name__).joinpath(f"{name}.schema.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded
