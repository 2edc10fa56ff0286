"""What is a fault: the promises that every call keeps, whatever it was given."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from pathlib import Path

from .calls import Call
from .forked import MEMORY, Outcome, encoding_of

# As docs/command-line.md lists them; 141 is what a shell shows where the reader of a pipe went away.
EXIT_CODES = {0, 2, 3, 4, 5, 6, 7, 8, 130, 141}
# What rich draws with: colours, moves of the cursor, and whether it is shown.
DRAWING = re.compile(r"\x1b\[[0-9;]*[A-HJKm]|\x1b\[\?25[hl]|\r")
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
TRACES = (
    "Traceback (most recent call last)",
    "Exception ignored",
    "internal error",
    "You may need to add PYTHONIOENCODING",
)
# doctor says by its exit code what is missing, and what fixes it in the table.
TELLS_BY_TABLE = {"doctor"}
# Commands whose folders of results are kept over several runs.
KEEPS = {"batch", "compare", "eval vbench", "eval common", "batch-report"}

Facts = dict[str, tuple[str, str]]


def look(folder: Path) -> Facts:
    """Return all files below a folder: what each is, and a digest of what it holds."""
    found: Facts = {}
    for root, folders, names in os.walk(folder):
        for name in (*names, *(one for one in folders if os.path.islink(os.path.join(root, one)))):
            path = os.path.join(root, name)
            mode = os.lstat(path).st_mode
            held = ""
            if stat.S_ISLNK(mode):
                held = os.readlink(path)
            elif stat.S_ISREG(mode):
                with open(path, "rb") as file:
                    held = hashlib.sha256(file.read()).hexdigest()
            found[os.path.relpath(path, folder)] = (stat.filemode(mode)[0], held)
    return found


def faults(
    call: Call, outcome: Outcome, before: Facts, after: Facts, left_in_temporary: list[str]
) -> dict[str, str]:
    """Return the promises that were broken, each with what is to be seen of it."""
    found: dict[str, str] = {}
    named = re.compile(r"[\w./-]+\.(?:mp4|json|gif|png|csv|yaml|txt)|'[^']*'|\d+")
    out, err = (
        text.decode(encoding_of(call.environment)[0], errors="replace")
        for text in (outcome.stdout, outcome.stderr)
    )
    said = out + err + outcome.unhandled
    for trace in TRACES:
        if trace in said:
            found.setdefault("traceback", cause(said))
    if outcome.late:
        found["time"] = f"{outcome.seconds:.0f} s"
    elif outcome.code not in EXIT_CODES:
        found["exit code"] = f"{outcome.code}"
    if outcome.memory > MEMORY:
        found["memory"] = f"{outcome.memory >> 20} MiB"
    if outcome.survivors:
        found["processes"] = "; ".join(outcome.survivors)
    shown = out if call.stderr == "terminal" else err
    if outcome.code not in (0, 141) and not outcome.late and call.stderr in ("file", "terminal"):
        if call.command not in TELLS_BY_TABLE or outcome.code == 2:
            plain = DRAWING.sub("", shown)
            if not re.search(r"^(error|Error): \S", plain, re.MULTILINE):
                found["no error line"] = f"exit {outcome.code}: {plain.strip()[-120:]}"
            elif not re.search(r"^(try: \S|Try ')", plain, re.MULTILINE):
                found["no next step"] = named.sub("…", plain.strip()[-160:])
        if len(re.findall(r"^(?:error|Error): ", shown, re.MULTILINE)) > 1:
            found["two errors"] = shown.strip()[-160:]
    raw = CONTROLS.search(err.replace("\n", ""))
    if "terminal" in (call.stdout, call.stderr):
        raw = raw or CONTROLS.search(DRAWING.sub("", out))
    if raw:
        found["controls"] = repr((err or out)[max(0, raw.start() - 60) : raw.end() + 20])
    if (
        {"--json"} & set(call.arguments)
        and outcome.code == 0
        and call.stdout == "file"
        and not {"-h", "--help", "--version"} & set(call.arguments)
    ):
        try:
            json.loads(out, parse_constant=_refuse)
        except ValueError as error:
            found["json"] = f"{error}: {out[:80]!r}"
    files = _file_faults(call, outcome, before, after, left_in_temporary)
    if files:
        found["files"] = files
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _file_faults(
    call: Call, outcome: Outcome, before: Facts, after: Facts, left_in_temporary: list[str]
) -> str:
    """What was left over, lost, or changed."""
    new, gone = sorted(set(after) - set(before)), sorted(set(before) - set(after))
    changed = sorted(name for name in set(before) & set(after) if before[name] != after[name])
    for name in new:
        base = os.path.basename(name)
        if base.startswith(".") or base.endswith((".part", ".tmp")):
            return f"left over: {base}"
    if left_in_temporary:
        return f"left in the temporary folder: {left_in_temporary[0]}"
    if call.command in KEEPS:
        # A folder of results is the program's own; what else lies about is not.
        own = {"batch", "compare", "common", "vbench", "more", "new", "common-metrics"}
        touched = [name for name in (*gone, *changed) if name.split("/")[0] not in own and "/" not in name]
        return f"changed: {touched[0]}" if touched else ""
    if outcome.code not in (0, 141) and new:
        return f"a failed call wrote {re.sub('[0-9]+', 'N', new[0])[-40:]}"
    if gone:
        return f"gone: {gone[0]}"
    asked = "--overwrite" in call.arguments or "NAVICACHE_OVERWRITE" in call.environment
    if changed and not asked and call.command not in ("plot", "replay"):  # whose pictures replace older ones
        return f"replaced: {changed[0]}"
    return ""


def cause(said: str) -> str:
    """The last line of a traceback, and the last place of ours in it."""
    lines = [line for line in said.splitlines() if line.strip()]
    ends = [
        line
        for line in lines
        if re.match(r"[\w.]*(Error|Exception|Exit|Interrupt|Warning|\w+)\b(: |$)", line)
    ]
    places = re.findall(
        r'File ".*?((?:navicache_cli|backends|presets)/[\w/]+\.py)", line (\d+), in (\w+)', said
    )
    where = f" in {places[-1][0]}:{places[-1][2]}" if places else ""
    last = next(
        (line for line in reversed(ends) if "Error" in line or "Exception" in line),
        lines[-1] if lines else "",
    )
    return re.sub(r"\d{3,}|'[^']*'|\"[^\"]*\"", "…", last)[:110] + where
