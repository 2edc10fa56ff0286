"""JSON documents with a schema that ships with the package: checked when written and when read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from navicache_cli import __version__
from navicache_cli.errors import OutputError
from navicache_cli.files import write_atomically

# What wrote a document, as its first key; by it files that may be replaced are known, see `files.MARK`.
SOURCE = {"source": f"navicache {__version__}"}


@cache
def read_schema(name: str) -> dict[str, Any]:
    """Return the shipped JSON schema of that file name."""
    loaded: dict[str, Any] = json.loads(files("navicache_cli").joinpath(name).read_text("utf-8"))
    return loaded


def check_document(document: Any, schema: dict[str, Any], kind: str, hint: str) -> None:
    """Check a document against its schema.

    Args:
        document: JSON values.
        schema: see `read_schema`.
        kind: what it should be, for the error, such as "navicache report".
        hint: what to do otherwise.

    Raises:
        OutputError: naming the first key that does not fit.
    """
    from jsonschema import Draft202012Validator

    error = next(iter(Draft202012Validator(schema).iter_errors(document)), None)
    if error is not None:
        place = "/".join(str(part) for part in error.absolute_path) or "the document"
        raise OutputError(f"not a {kind}: {place}: {error.message[:160]}", hint)


def flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a part of a document, with its figures by metric in the place of the key `fidelity`."""
    found: dict[str, Any] = {}
    for key, value in document.items():
        found.update(value if key == "fidelity" else {key: value})
    return found


def document_text(document: dict[str, Any]) -> str:
    """Return a document as it is written to files."""
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def write_document(document: dict[str, Any], path: Path) -> None:
    """Write a document in one move, so that no reader ever sees half of it.

    Raises:
        OutputError: the folder cannot be written.
    """
    write_atomically(path, document_text(document))
