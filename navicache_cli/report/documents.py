"""JSON documents: each is defined once, as a `Document` of `Part`s.

Its schema, the check when it is written and when it is read, and its typed form follow from that definition.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from msgspec import Meta

from navicache_cli import __version__
from navicache_cli.errors import OutputError
from navicache_cli.files import write_atomically
from navicache_cli.reading import read_json

FIGURES = "fidelity"

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Amount = Annotated[float, Meta(ge=0)]  # seconds, or anything else that is not negative
Share = Annotated[float, Meta(ge=0, le=1)]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mapping in a document.

    A field `fidelity` holds figures by metric. In JSON these stand among the part's other keys, so that a new
    metric is one more key.
    """


class Document(Part, frozen=True, kw_only=True):
    """A whole document; each has a field `version`, whose default is the version that is written and read.

    Attributes:
        NAME: what it is called in messages and in its schema.
        HINT: what to type for one that can be used.
    """

    NAME: ClassVar[str]
    HINT: ClassVar[str]

    @classmethod
    def upgrade(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Return the JSON values of an older version as this version has them."""
        return values


def written_by() -> str:
    """Return a document's first key: by it files that may be replaced are known, see `files.MARK`."""
    return f"navicache {__version__}"


DocumentType = TypeVar("DocumentType", bound=Document)


def one_of(*words: str) -> Meta:
    """Return the constraint that a text is one of several words."""
    return Meta(pattern=f"^({'|'.join(words)})$")


def plain(value: Any) -> Any:
    """Return a document or a part of one as plain JSON values; absent keys are left out."""
    if isinstance(value, msgspec.Struct):
        found: dict[str, Any] = {}
        for key in value.__struct_fields__:
            one = getattr(value, key)
            if key == FIGURES and isinstance(value, Part):
                found.update(plain(one))
            elif one is not msgspec.UNSET:
                found[key] = plain(one)
        return found
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


def json_text(values: Any) -> str:
    """Return JSON values as files of documents have them.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(values, indent=1, allow_nan=False) + "\n"


def document_text(document: Document) -> str:
    """Return a document as it is written to files, checked as if it were read from there.

    Raises:
        OutputError: it does not fit its definition.
    """
    text = json_text(plain(document))
    as_document(json.loads(text), type(document))
    return text


def write_document(document: Document, path: Path) -> None:
    """Write a document in one move, so that no reader ever sees half of it.

    Raises:
        OutputError: the folder cannot be written, or the document does not fit its definition.
    """
    write_atomically(path, document_text(document))


def read_document(path: Path, kind: type[DocumentType]) -> DocumentType:
    """Read a document, of this version or an older one that can be upgraded.

    Raises:
        OutputError: the file cannot be read, is not JSON, or is no such document; the message says which key.
    """
    try:
        values = read_json(path)
    except OSError as error:
        raise OutputError(f"cannot read the {kind.NAME} {path}: {error.strerror}", "check the path") from None
    try:
        return as_document(values, kind)
    except OutputError as error:
        raise OutputError(f"{path}: {error.message}", error.hint) from None


def as_document(values: Any, kind: type[DocumentType]) -> DocumentType:
    """Return JSON values as the document that they are.

    Raises:
        OutputError: they are none; the message says which key, what was expected and what was found.
    """
    if isinstance(values, dict):
        values = kind.upgrade(values)
        found, known = values.get("version"), version_of(kind)
        if found != known:
            newer = isinstance(found, int) and found > known
            raise OutputError(
                f"not a navicache {kind.NAME}: version: expected {known}, found {_shown(found)}",
                "pip install --upgrade navicache" if newer else kind.HINT,
            )
    try:
        return as_part(values, kind)
    except ValueError as error:
        raise OutputError(f"not a navicache {kind.NAME}: {error}", kind.HINT) from None


def version_of(kind: type[Document]) -> int:
    """Return the version of a document that is written and read."""
    (version,) = (field.default for field in msgspec.structs.fields(kind) if field.name == "version")
    return int(version)


PartType = TypeVar("PartType", bound=msgspec.Struct)


def as_part(values: Any, kind: type[PartType]) -> PartType:
    """Return JSON values as the part of a document that they are.

    Raises:
        ValueError: they are none; the message says which key, what was expected and what was found.
    """
    gathered = _gather(values, _form(kind))
    try:
        return msgspec.convert(gathered, kind)
    except msgspec.ValidationError as error:
        raise ValueError(_fault(gathered, kind, str(error))) from None
    except UnicodeEncodeError:
        raise ValueError("expected keys of whole characters, found others") from None


@cache
def _form(kind: type) -> msgspec.inspect.Type:
    return msgspec.inspect.type_info(kind)


def _gather(value: Any, form: msgspec.inspect.Type) -> Any:
    """Put the figures of each part under one key again: the inverse of what `plain` does."""
    if isinstance(form, msgspec.inspect.Metadata):
        return _gather(value, form.type)
    if isinstance(form, msgspec.inspect.UnionType):
        for one in form.types:
            value = _gather(value, one)
    elif isinstance(form, msgspec.inspect.ListType) and isinstance(value, list):
        return [_gather(one, form.item_type) for one in value]
    elif isinstance(form, msgspec.inspect.DictType) and isinstance(value, dict):
        return {key: _gather(one, form.value_type) for key, one in value.items()}
    elif isinstance(form, msgspec.inspect.StructType) and isinstance(value, dict):
        forms = {field.name: field.type for field in form.fields}
        figures = forms.pop(FIGURES, None) if issubclass(form.cls, Part) else None
        found = {key: _gather(one, forms[key]) if key in forms else one for key, one in value.items()}
        if figures is None:
            return found
        further = {key: found.pop(key) for key in value if key not in forms}
        return {**found, FIGURES: _gather(further, figures)}
    return value


def _fault(values: Any, kind: type[msgspec.Struct], told: str) -> str:
    """Say of values that do not fit where, what was expected and what was found.

    Args:
        values: with the figures gathered; their mappings are taken apart.
        kind: what they should be.
        told: by msgspec, such as "Expected `int` >= 0 - at `$.steps[0].index`".
    """
    words, _, path = told.partition(" - at `$")
    place: list[str] = []
    value = values
    for name, position in re.findall(r"\.(\w+)|\[(\d+|\.\.\.)\]", path):
        if position == "...":
            key: Any = _key_at_fault(values, value, kind, told)
        else:
            key = name or int(position)
        value = value[key]
        if name != FIGURES:
            place.append(str(key)[:60])
    if words.startswith("Object"):  # a key is missing, or there is one too many
        words = words.replace("Object missing required field", "expected the key")
        words = words.replace("Object contains unknown field", "found the unknown key")
    else:
        words = f"{words.split(', got ')[0].replace('Expected', 'expected')}, found {_shown(value)}"
    return f"{'/'.join(place) or 'the document'}: {words.replace('`', '')[:200]}"


def _key_at_fault(values: Any, mapping: dict[str, Any], kind: type[msgspec.Struct], told: str) -> str:
    """Find which key of a mapping msgspec speaks of, by halves; all others are removed from the mapping."""
    while len(mapping) > 1:
        items = list(mapping.items())
        middle = len(items) // 2
        for part in (items[:middle], items[middle:]):
            mapping.clear()
            mapping.update(part)
            if _refusal(values, kind) == told:
                break
    return next(iter(mapping))


def _refusal(values: Any, kind: type[msgspec.Struct]) -> str:
    try:
        msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        return str(error)
    return ""


def _shown(value: Any) -> str:
    return json.dumps(value)[:60]


def schema_of(kind: type[Document]) -> dict[str, Any]:
    """Return the JSON schema of a document."""
    _, parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    for part in parts.values():
        _spread_figures(part)
    top = parts.pop(kind.__name__)
    top["properties"]["version"] = {"const": version_of(kind)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **top,
        "title": f"navicache {kind.NAME}, version {version_of(kind)}",
        "required": [*top["required"], "version"],
        "$defs": parts,
    }


def _spread_figures(part: dict[str, Any]) -> None:
    """Describe a part as it is in JSON, with the figures among its other keys."""
    figures = part["properties"].pop(FIGURES, None)
    if figures is not None:
        further = {"description": "A figure by metric, such as psnr."}
        part["additionalProperties"] = {**further, **figures["additionalProperties"]}
        if "description" in figures:
            part["additionalProperties"]["description"] += " " + figures["description"].capitalize() + "."
        part["required"].remove(FIGURES)
