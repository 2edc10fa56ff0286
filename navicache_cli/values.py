"""Values as users write them, in text or YAML; for what does not fit, a ValueError says what would."""

from __future__ import annotations

import json
import math
import os
import re
from typing import Any

WHOLE_LIMIT = 2**63


def read_text(value: Any) -> str:
    """Read any single value as text; nothing is ""."""
    if isinstance(value, (dict, list)):
        raise ValueError("text")
    text = "" if value is None else str(value)
    # What files can hold and no program can be given: a null character, half a character of a pair.
    if "\0" in text or _HALF.search(text):
        raise ValueError("text of whole characters, none of them null")
    return text


# Of bytes that are no UTF-8, such as in a file's name, Python makes U+DC80 to U+DCFF, and bytes again.
_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_BYTES = re.compile("[\udc80-\udcff]")


def read_words(value: Any) -> str:
    """Read text that is for people; where the locale knows less than UTF-8, its bytes are read as that."""
    text = read_text(value)
    try:
        return os.fsencode(text).decode("utf-8") if _BYTES.search(text) else text
    except UnicodeError:
        raise ValueError("UTF-8 text") from None


def read_integer(value: Any) -> int:
    """Read a whole number of 64 bits; True is none."""
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError("a whole number")
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise ValueError("a whole number") from None
    if not -WHOLE_LIMIT <= number < WHOLE_LIMIT:
        raise ValueError("a 64-bit whole number")
    return number


def read_number(value: Any) -> float:
    """Read a finite number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError("a number") from None
    except OverflowError:  # 400 digits
        number = math.inf
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError("a finite number")
    return number


def read_switch(value: Any) -> bool:
    """Read true or false, yes or no, on or off, 1 or 0."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in {"1", "true", "yes", "on"}:
        return True
    if text in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError("true or false")


def read_size(value: Any) -> str:
    """Read `WIDTHxHEIGHT`, normalised."""
    match = re.fullmatch(r"(\d{1,5})\s*[x*X×]\s*(\d{1,5})", str(value).strip())
    if not match:
        raise ValueError("WIDTHxHEIGHT, such as 832x480")
    return f"{int(match[1])}x{int(match[2])}"


def read_whole_numbers(value: Any) -> str:
    """Read `name=number` items with spaces or commas between, normalised; a mapping says the same."""
    items = [f"{k}={v}" for k, v in value.items()] if isinstance(value, dict) else split_list(value)
    if not all(re.fullmatch(r"[a-z]+=\d{1,4}", item) for item in items):
        raise ValueError("kind=number items, such as 'self=2 cross=6'")
    return " ".join(items)


def read_numbers(value: Any) -> str:
    """Read numbers with spaces or commas between, normalised; a list says the same."""
    items = [str(item) for item in value] if isinstance(value, list) else split_list(value)
    try:
        if all(math.isfinite(float(item)) for item in items):
            return " ".join(items)
    except ValueError:
        pass
    raise ValueError("finite numbers separated by spaces")


def read_arguments(value: Any) -> str:
    """Read arguments by name: a mapping, or its YAML, or KEY=VALUE items of a list with YAML in each VALUE.

    Values are single ones and lists of them.

    Returns:
        One line of JSON, in the order of the names; "" for none.
    """
    from navicache_cli.yaml_core import parse_yaml

    found: Any = value or {}
    if isinstance(value, list):
        items = [str(item).partition("=") for item in value]
        if not all(equals and name.strip() for name, equals, _ in items):
            raise ValueError("KEY=VALUE")
        found = {name.strip(): parse_yaml(text) for name, _, text in items}
    elif isinstance(value, str) and value.strip():
        found = parse_yaml(value)
    if not isinstance(found, dict) or not all(map(_is_plain, found.values())):
        raise ValueError("KEY=VALUE items, each VALUE a single one or a list, such as sigmas=[1.0,0.5]")
    return json.dumps(found, sort_keys=True, ensure_ascii=False) if found else ""


def _is_plain(value: Any) -> bool:
    return all(map(_is_plain, value)) if isinstance(value, list) else not isinstance(value, dict)


def split_list(value: Any) -> list[str]:
    """Split text at spaces and commas."""
    return str(value).replace(",", " ").split()


def split_commas(text: str) -> list[str]:
    """Split text at commas alone, as paths may have spaces; an empty entry is "", and so is empty text."""
    return [entry.strip() for entry in text.split(",")]
