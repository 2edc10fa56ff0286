"""The options of a plan: how each is read from text or YAML, and what it is when nobody says."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
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


def split_list(value: Any) -> list[str]:
    """Split text at spaces and commas."""
    return str(value).replace(",", " ").split()


def split_commas(text: str) -> list[str]:
    """Split text at commas alone, as paths may have spaces; an empty entry is "", and so is empty text."""
    return [entry.strip() for entry in text.split(",")]


# Every option with its reader, which raises ValueError with what it expects; in the order plans are shown.
OPTIONS: dict[str, Callable[[Any], Any]] = {
    "model": read_text, "task": read_text, "mode": read_text, "method": read_text,
    "prompt": read_words, "negative_prompt": read_words, "image": read_text, "last_image": read_text,
    "reference_images": read_text, "source_video": read_text, "source_mask": read_text,
    "size": read_size, "aspect_ratio": read_text, "frames": read_integer, "fps": read_integer,
    "steps": read_integer, "seed": read_integer, "guidance": read_number, "embedded_guidance": read_number,
    "shift": read_number, "solver": read_text,
    "threshold": read_number, "align_steps": read_integer, "estimator": read_text, "predictor": read_text,
    "speedup": read_number, "compute": read_number, "max_error": read_number,
    "coefficients": read_numbers, "ratios": read_text, "max_skips": read_integer, "retention": read_number,
    "broadcast": read_whole_numbers, "window": read_numbers, "interval": read_integer, "order": read_integer,
    "weights": read_text,
    "repo": read_text, "offload": read_switch, "t5_cpu": read_switch, "fp8": read_switch,
    "ulysses": read_integer, "ring": read_integer, "fsdp": read_switch,
    "output": read_text, "output_dir": read_text, "overwrite": read_switch, "baseline": read_switch,
    "trajectory": read_switch,
}  # fmt: skip
BUILT_IN: dict[str, Any] = {
    "model": "tiny", "mode": "fast", "method": "navicache", "threshold": 0.0, "predictor": "residual",
    "speedup": 0.0, "compute": 0.0, "max_error": 0.0,
    "image": "", "last_image": "", "reference_images": "", "source_video": "", "source_mask": "",
    "aspect_ratio": "", "embedded_guidance": 0.0,
    "coefficients": "", "ratios": "", "max_skips": 0, "retention": 0.0,
    "broadcast": "", "window": "", "interval": 0, "order": 0,
    "weights": "", "repo": "", "offload": False, "t5_cpu": False, "fp8": False,
    "ulysses": 1, "ring": 1, "fsdp": False,
    "output": "", "output_dir": "videos", "overwrite": False, "baseline": False,
    "trajectory": False,
}  # fmt: skip
# Options that only some families have; a preset's `takes` names those of its own.
FAMILY_OPTIONS = (
    "aspect_ratio", "embedded_guidance", "max_error", "repo", "offload", "t5_cpu", "fp8", "ulysses", "ring",
    "fsdp",
)  # fmt: skip
# Keys of a preset's task that are no plan values; see `presets.Preset.tasks`.
TASK_FACTS = ("sizes", "inputs", "optional_inputs", "by_size", "methods")
# Files a video is made from, and what each is.
INPUTS = {
    "image": "a picture's path",
    "last_image": "a picture's path",
    "reference_images": "pictures' paths",
    "source_video": "a video's path",
    "source_mask": "a mask video's path",
}
ENVIRONMENT_ALIASES = {"NAVICACHE_THRESH": "threshold"}
