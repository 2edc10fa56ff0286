"""Values, documents and files that nobody sensible would give to the program."""

from __future__ import annotations

import json
import os
import random
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

NUMBERS = (
    "nan", "inf", "-inf", ".inf", ".nan", "1e400", "-1e400", "1e308", "-0", "0", "-1", "1e-320", "9" * 400,
    "0x10",
    "1_0", "٣", "1,5", "½", "2.5", "4.0", "9223372036854775808", "-9223372036854775809", "1e15", "99999999",
    " 4 ",
    "+3", "1/0", "0/0", "3:1", "true", "1e-400",
)  # fmt: skip
# Nothing the program prints on a terminal has any of these; see faults.CONTROLS.
CONTROLS = (
    "\x1b]0;owned\x07",
    "a\x07b",
    "\x1bc",
    "\x9b31mred",
    "ab\x08c",
    "\x7f",
    "\u202egnp.4pm",
    "\u2066x",
    "a\rb",
)
TEXTS = (
    "", " ", "\t", "a\nb", "a\nerror: owned\ntry: owned", "[bold red]x[/]", "[/]", "[/nothing]", "{", "{0}",
    "{prompt!r:>99999999}",
    "%s%n", "$(id)", "; id", "-", "--", "-x", "=", "=x", "x=", "~", "~nouser/x", "~/x", "..", ".", "/",
    "x" * 300, "x" * 251,
    "x/" * 2000 + "x", "é" * 200, "\ud800", "caf\udce9", "\udcff\udcfe.mp4", "日本語", "🎬" * 40, "\ufeffx",
    "null", "None", "off", "no", "9:16", "[fast]", "{a: b}", "&a [*a]", "!!python/object:os.system",
    "fast,fast",
    "fast,,", ",", "navicache,nothing", "navicache.threshold=0:1:99999999", "navicache.threshold=1:0:3",
    "navicache.threshold=nan:inf:2", "method.threshold=0.1:0.2:2", "1/2", "0/0", "3/2", "1/99999999999",
    "9x9", "64x64",
    "0x0", "99999x99999", "4s", "2futures", "self=2 cross=6", "self=0", "800 100", "file:///proc/version",
    "-o",
)  # fmt: skip
# Paths where nobody can write, root neither: a call that goes wrong leaves nothing outside its folder.
PLACES = (
    "/dev/null", "/dev/full", "/dev/zero", "/dev/stdin", "/proc/self/mem", "/proc/1", "/proc", "/dev/null/x",
    "/dev/full/x.mp4", "/proc/x.mp4", "/proc/self/fd/9/x.json", "/proc/nowhere/at/all.mp4", "", "/proc/x.png",
    "/proc/x/y.mp4", "/proc/x.json",
)  # fmt: skip
NOWHERE = "/proc/nowhere/at/all"
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, float("nan"), float("inf"), -float("inf"), 10**400, 1e308, 2**63, "",
    "x", "nan", [],
    {}, [[]], [None], {"a": None}, [1, "x"], "x" * 5000, "\x1b]0;owned\x07", "a\u202eb", "\x00",
    "../../x.mp4",
    "/proc/version", "</script><script>", [0.5] * 100, {"value": 1}, -(10**30), "2026-13-45",
)  # fmt: skip


# What a value of an option may be in YAML and JSON lines.
KEYS = (b"steps", b"threshold", b"seed", b"frames", b"interval", b"window", b"prompt", b"model", b"size")
LITERALS = (b"1e400", b"9" * 400, b"NaN", b"-Infinity", b"null", b"[4]", b"{}", b"true")


def value(rng: random.Random) -> str:
    """Text for an option."""
    return rng.choice(rng.choice((NUMBERS, TEXTS, CONTROLS, PLACES)))


def mutate(rng: random.Random, document: Any) -> Any:
    """Return a JSON document with one thing in it replaced, removed or added, at any depth."""
    if isinstance(document, (dict, list)) and document and rng.random() < 0.85:
        keys = list(document) if isinstance(document, dict) else list(range(len(document)))
        key, changed = rng.choice(keys), document.copy()
        act = rng.random()
        if act < 0.75:
            changed[key] = mutate(rng, changed[key])
        elif act < 0.9:
            del changed[key]
        elif isinstance(changed, dict):
            changed[rng.choice(TEXTS)] = rng.choice(VALUES)
        else:
            changed.append(rng.choice(VALUES))
        return changed
    return rng.choice(VALUES)


def _edited(rng: random.Random, text: str) -> bytes:
    """A JSON document, or lines of them, with one value edited; other text with one word replaced."""
    lines = text.splitlines()
    for whole in (True, False):
        row = 0 if whole or not lines else rng.randrange(len(lines))
        try:
            changed = json.dumps(mutate(rng, json.loads(text if whole else lines[row])))
        except (ValueError, IndexError, RecursionError):
            continue
        return (changed if whole else "\n".join([*lines[:row], changed, *lines[row + 1 :]])).encode()
    values = list(re.finditer(r"(?<=: )[^\n,}]+", text))
    if values and rng.random() < 0.8:  # YAML: one value, by what numbers may be there
        at = rng.choice(values)
        new = rng.choice((*NUMBERS, *(literal.decode() for literal in LITERALS)))
        return (text[: at.start()] + new + text[at.end() :]).encode()
    words = text.replace("\n", " \n ").split(" ")
    words[rng.randrange(len(words))] = value(rng)
    return " ".join(words).encode(errors="surrogateescape" if "\ud800" not in text else "replace")


def _safe_edited(rng: random.Random, data: bytes) -> bytes:
    try:
        return _edited(rng, data.decode())
    except UnicodeError:  # binary data, or half a character was put in
        return _flipped(rng, data)


def _flipped(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data or b"x")
    for _ in range(rng.choice((1, 3, 50))):
        # Half of them near the start, where headers are.
        at = rng.randrange(min(len(changed), 200) if rng.random() < 0.5 else len(changed))
        changed[at] = rng.randrange(256)
    return bytes(changed)


def _of_its_kind(rng: random.Random, data: bytes) -> bytes:
    """What only a file of this kind can do."""
    if data.startswith(b"\x89PNG"):
        side = rng.choice((13_000, 2**31 - 1, 0))
        head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        rows = zlib.compress(bytes(3 * 13_001) * 400, 9)
        return data[:8] + b"".join(
            struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part))
            for kind, part in ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b""))
        )
    if data[8:10] == b'{"':  # safetensors: the length of the header, the header, numbers
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        name = rng.choice([name for name in header if name != "__metadata__"])
        header[name][rng.choice(("dtype", "shape", "data_offsets"))] = rng.choice(
            ("F4", "I128", [2**62, 2**62], [-1], None)
        )
        edited = json.dumps(header).encode()
        return len(edited).to_bytes(8, "little") + edited + data[8 + size :]
    if data.startswith(b"prompt,step,"):
        scales = rng.choice(
            (
                ("1e-150", "1e150"),
                ("0", "0"),
                ("nan", "1"),
                ("-1", "-2"),
                ("1e-320", "1e308"),
                ("9" * 400, "1"),
            )
        )
        return b"prompt,step,input_rel_l1,output_rel_l1\n" + b"".join(
            f"{n // 9},{n % 9 + 1},{scales[n % 2]},{scales[(n + n // 9) % 2]}\n".encode() for n in range(45)
        )
    return _flipped(rng, data)


CONTENTS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    *[_safe_edited] * 12, *[_of_its_kind] * 3, _flipped, _flipped,
    lambda rng, data: data[: rng.choice((0, 1, 7, 200, max(0, len(data) - 1), len(data) // 2))],
    lambda rng, data: b"\xef\xbb\xbf" + data,
    lambda rng, data: data + b"\x00" * 20,
    lambda rng, data: data.replace(b"a", b"\xe9"),
    lambda rng, data: data + data,
    lambda rng, data: b"[" * 100_000,
    lambda rng, data: b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    lambda rng, data: rng.choice(NUMBERS).encode(),
    lambda rng, data: data.decode("latin-1").encode("utf-16"),
    lambda rng, data: b"a: &a [x]\n" + b"".join(b"b%d: &b%d [*a, *a, *a]\n" % (i, i) for i in range(20)),
    lambda rng, data: b"steps: [4]\nmode: [fast]\nprompt: {a: b}\n",
    lambda rng, data: b"steps: %s\n" % rng.choice(NUMBERS).encode(),
    lambda rng, data: b"%s: %s\n" % (rng.choice(KEYS), rng.choice(NUMBERS).encode()),
    lambda rng, data: b"%s: %s\n" % (rng.choice(KEYS), rng.choice(LITERALS)),
    lambda rng, data: b"mode: off\n",
    lambda rng, data: b'{"prompt": "x", "%s": %s}\n' % (rng.choice(KEYS), rng.choice(LITERALS)),
    lambda rng, data: b'"' + b"x" * 200_000 + b'"',
)  # fmt: skip


def spoil(rng: random.Random, path: Path) -> str:
    """Put something hostile in the place of a file or folder, and say what."""
    kind = rng.choices(
        ("content", "fifo", "device", "folder", "dangling", "loop", "file"), (24, 1, 1, 1, 1, 1, 1)
    )[0]
    data = path.read_bytes() if path.is_file() else b""
    if kind == "content" and not path.is_dir():
        number = rng.randrange(len(CONTENTS))
        path.unlink(missing_ok=True)
        path.write_bytes(CONTENTS[number](rng, data))
        return f"content {number}"
    if path.is_dir():
        path.rename(path.with_name(f"{path.name}-before"))
    else:
        path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.write_bytes(b"x")
    else:
        path.symlink_to({"device": "/dev/zero", "loop": path.name}.get(kind, NOWHERE))
    return kind
