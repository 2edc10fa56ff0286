"""Files of prompts: text, CSV, JSON lines and VBench's full-info JSON, read into rows of options."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from navicache_cli.errors import UsageError
from navicache_cli.plan.check import MAX_PROMPT_CHARACTERS
from navicache_cli.plan.keys import READERS
from navicache_cli.plan.option import Use
from navicache_cli.plan.options import options_with
from navicache_cli.plan.presets import unknown
from navicache_cli.reading import expand_user, parse_json, read_bytes
from navicache_cli.values import read_text

# Options of the whole batch; a row cannot have its own.
OF_THE_BATCH = options_with(Use.BATCH)
ROW_OPTIONS = tuple(key for key in READERS if key not in OF_THE_BATCH)
_HINT = "fix the line; nothing was started"


@dataclass(frozen=True)
class Row:
    """One prompt and what else its line says.

    Attributes:
        number: its place among the file's rows, from 1.
        where: the same for people, such as `prompts.csv line 7`.
        options: values of options by name, as they stand in the file; the empty ones left out.
    """

    number: int
    where: str
    options: dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Read a file of prompts, by its suffix.

    Returns:
        At least one row. Each prompt is text of at most MAX_PROMPT_CHARACTERS, stripped; rows without one are
        left to the option `prompt`.

    Raises:
        UsageError: with file and line: not UTF-8, not of its format, an unknown column, an impossible prompt.
    """
    readers = {".txt": _text_rows, ".csv": _csv_rows, ".jsonl": _jsonl_rows, ".json": _vbench_rows}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(
            f"expected a file of prompts that ends in {', '.join(readers)}; found {path.name[-60:]!r}",
            "name it by its format: .txt has one prompt per line",
        )
    text = _read(path)
    rows: list[Row] = []
    for where, options in reader(text, path.name):
        given = {key: _check_value(key, value, where) for key, value in options.items()}
        rows.append(Row(len(rows) + 1, where, {key: value for key, value in given.items() if value != ""}))
    if not rows:
        raise UsageError(f"expected prompts in {path}, found none", "write one per line")
    return rows


def _read(path: Path) -> str:
    try:
        raw = read_bytes(expand_user(path))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", "check the path") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path.name} line {line} is not UTF-8 text", "save the file as UTF-8") from None


def _check_value(option: str, value: Any, where: str) -> Any:
    """Return an option's value, text stripped, "" for none; what else it must be is left to the plan."""
    if isinstance(value, (dict, list)):
        raise UsageError(f"{where}: {option} expects text or a number, found {str(value)[:60]!r}", _HINT)
    if not isinstance(value, str) and option != "prompt":
        return "" if value is None else value
    try:
        text = read_text(value).strip()
        text.encode()  # JSON can hold halves of characters, which nothing can print or write.
    except ValueError:
        raise UsageError(
            f"{where}: {option} expects text of whole characters, none of them null, "
            f"found {str(value)[:60]!r}",
            _HINT,
        ) from None
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise UsageError(
            f"{where}: {option} expects at most {MAX_PROMPT_CHARACTERS} characters, found {len(text)}", _HINT
        )
    return text


def _option(column: object, where: str) -> str:
    """Return the option a column or key names."""
    name = str(column).strip().replace("-", "_")
    if name in OF_THE_BATCH:
        raise UsageError(
            f"{where}: {name} is one for the whole batch and expects no column", f"--{name.replace('_', '-')}"
        )
    if name not in ROW_OPTIONS:
        raise UsageError(f"{where}: {unknown('column', name, ROW_OPTIONS)}", "rename or remove it")
    return name


def _text_rows(text: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    # Not splitlines: it also splits at characters that may stand inside a prompt.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{name} line {number}", {"prompt": line}


def _jsonl_rows(text: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        where = f"{name} line {number}"
        if not line.strip():
            continue
        found = _parse(line, where)
        if not isinstance(found, dict):
            raise UsageError(f"{where}: expected a JSON object, found {line[:60]!r}", '{"prompt": "…"}')
        options = {_option(key, where): value for key, value in found.items()}
        if len(options) < len(found):  # align-steps and align_steps are one
            raise UsageError(f"{where}: expected each option once, found one twice", "remove one of them")
        yield where, options


def _csv_rows(text: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: list[str] = []
    while True:
        where = f"{name} line {lines.line_num + 1}"
        try:
            fields = next(lines, None)
        except csv.Error as error:
            raise UsageError(f"{where} is not CSV that can be read: {error}", _HINT) from None
        if fields is None:
            return
        if not any(field.strip() for field in fields):
            continue
        if not columns:
            columns = [_option(field, where) for field in fields]
            twice = [column for column in columns if columns.count(column) > 1]
            if twice:
                raise UsageError(f"{where}: expected each column once, found {twice[0]} twice", "remove one")
            continue
        if len(fields) != len(columns):
            raise UsageError(
                f"{where}: expected {len(columns)} fields as in the first line, found {len(fields)}",
                'put text with commas in "quotes"',
            )
        yield where, dict(zip(columns, fields, strict=True))


def read_vbench_list(path: Path) -> list[dict[str, Any]]:
    """Read VBench's list of prompts: its entries, with `prompt_en` stripped.

    Raises:
        UsageError: with file and entry: not UTF-8, not that list, an impossible prompt.
    """
    return [entry for _, entry in _vbench_entries(_read(path), path.name)]


def _vbench_rows(text: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of VBench's list of prompts; one that is listed for several dimensions is one row."""
    seen = set()
    for where, entry in _vbench_entries(text, name):
        prompt = entry["prompt_en"]
        if prompt not in seen:
            seen.add(prompt)
            yield where, {"prompt": prompt}


def _vbench_entries(text: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    found = _parse(text, name)
    form = 'VBench\'s list of objects with "prompt_en" and "dimension"'
    if not isinstance(found, list):
        raise UsageError(
            f"{name}: expected {form}; found another kind of JSON", "use .jsonl for your own options"
        )
    for number, entry in enumerate(found, 1):
        where = f"{name} entry {number}"
        prompt = entry.get("prompt_en") if isinstance(entry, dict) else None
        if not isinstance(prompt, str) or not prompt.strip() or not isinstance(entry.get("dimension"), list):
            raise UsageError(
                f"{where}: expected {form}; found {str(entry)[:60]!r}", "use .jsonl for your own options"
            )
        yield where, {**entry, "prompt_en": _check_value("prompt", prompt, where)}


def _parse(text: str, where: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise UsageError(f"{where}: {error}", _HINT) from None
