"""Calls of the program: good ones, changed in a few hostile ways. Same seed and case, same call."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from pathlib import Path

from . import hostile
from .ground import ROOT, SHORT, files_of

# Options of a command: name to whether it is a switch, which takes no value.
Options = dict[str, bool]

# A folder of diffusers' own form.
PIPELINE = (
    "generate", "--model", "diffusers", "--weights", "pipeline", "--size", "64x64", "--frames", "5",
    "--steps", "3",
)  # fmt: skip
# Good calls of each command. Words that name a file of the ground are also what is spoilt most.
BASES: dict[str, tuple[tuple[str, ...], ...]] = {
    "generate": (
        ("generate", "--steps", "2"), ("generate", *SHORT, "-o", "new.mp4"), ("generate", *SHORT, "-q"),
        ("generate", *SHORT, "--json"), ("generate", "--dry-run"), ("generate", "--dry-run", "--json"),
        ("generate", "--config", "config.yaml"), ("generate", "--prompt-file", "scene.txt", "--steps", "2"),
        ("generate", "--weights", "weights", "--steps", "2"), ("generate", "--weights", "weights",
         "--steps", "2", "--json"),
        ("generate", "--config", "config.yaml", "--dry-run"), ("generate", "--config", "config.yaml",
         "--json"), ("generate", *SHORT, "-o", "ratios.mp4"),
        ("generate", *SHORT, "-o", "taken.mp4"),
        ("generate", *SHORT, "-o", "shot.mp4"),
        ("generate", *SHORT, "-o", "shot.mp4", "--overwrite"), ("generate", "--prompt-file", "-", "--steps",
         "2"),
        ("generate", "--method", "magcache", "--set", "ratios=ratios.json", "--steps", "4"),
        ("generate", "--mode", "off", "--trajectory", "--steps", "2", "-o", "recorded.mp4"),
        ("generate", "--speedup", "2", "--predictor", "calibrated", "--steps", "6"),
        ("generate", "--schedule", "schedule.yaml", "--speedup", "2", "--steps", "4"),
        ("generate", "--model", "wan", "--repo", "weights"), ("generate", "--model", "hunyuan", "--dry-run"),
        ("generate", "--model", "opensora", "--size", "480p", "--frames", "4s", "--dry-run"),
        ("generate", "--model", "wan", "--task", "i2v-14B", "--image", "picture.png", "--repo",
         str(ROOT / "tests/doubles/wan_repo"), "--weights", "weights"),
        (*PIPELINE, "-o", "new.mp4"), (*PIPELINE, "--dry-run"), (*PIPELINE, "--dry-run", "--json"),
        (*PIPELINE, "--call", "max_sequence_length=64", "--json"), (*PIPELINE, "--mode", "fast"),
        ("generate", "--model", "diffusers", "--weights", "owner/name"),
    ),
    "batch": (
        ("batch", "prompts.txt", *SHORT, "--output-dir", "batch"), ("batch", "prompts.csv", "--align-steps",
         "1"),
        ("batch", "prompts.jsonl", "--dry-run"), ("batch", "prompts.jsonl"), ("batch", "prompts.jsonl",
         "--dry-run", "--json"),
        ("batch", "info.json", "--steps", "2", "--output-dir", "more"), ("batch", "one.txt", "--steps", "2",
         "--json"),
        ("batch", "one.txt", *SHORT, "--name", "{slug}-{n}.mp4", "--seeds", "2", "-q"),
        ("batch", "prompts.txt", *SHORT, "--shard", "1/2", "--output-dir", "batch"),
    ),
    "batch-report": (("batch-report", "batch"), ("batch-report", "batch", "--json"), ("batch-report",
    "batch", "--no-page")),
    "compare": (
        ("compare", "--methods", "navicache,fewer-steps", "--modes", "fast", "--prompts", "one.txt",
         "--steps", "4",
         "--align-steps", "1", "--no-lpips", "--output-dir", "compare"),
        ("compare", "--settings", "settings.yaml", "--prompts", "one.txt", "--steps", "4", "--no-lpips",
         "--json"),
        ("compare", "--sweep", "navicache.threshold=0.1:0.2:2", "--steps", "3", "--no-lpips", "--prompt",
         "a red circle"),
    ),
    "calibrate": (("calibrate", "--steps", "3"), ("calibrate", "--steps", "2", "-q", "-o", "ratios.json",
    "--overwrite")),
    "schedule": (
        ("schedule", "--steps", "3", "--prompt", "a red circle", "-o", "new.yaml"),
        ("schedule", "--steps", "4", "--prompts", "one.txt", "--speedup", "1.5,2", "-q", "-o",
         "schedule.yaml", "--overwrite"),
    ),
    "memory": (("memory", "--model", "wan"), ("memory", "--model", "wan", "--task", "t2v-14B", "--json"),
    ("memory", "--model", "wan", "--gpu-memory", "24", "--method", "pab")),
    "export-tiny": (("export-tiny", "new"), ("export-tiny", "new/er", "--weights", "a")),
    "presets": (("presets",), ("presets", "--json"), ("presets", "--model", "tiny")),
    "models": (("models",), ("models", "--json")),
    "setup": (("setup", "wan", "--dry-run"), ("setup", "hunyuan", "--weights", "HunyuanVideo", "--dry-run")),
    "doctor": (("doctor",), ("doctor", "--model", "tiny"), ("doctor", "--json"), ("doctor", "--model",
    "wan", "--task", "t2v-1.3B")),
    "metrics": (
        ("metrics", "shot.mp4", "off.mp4", "--no-lpips"), ("metrics", "a", "b", "--no-lpips", "--json"),
        ("metrics", "moving.gif", "moving.gif", "--no-lpips"), ("metrics", "picture.png", "picture.png",
         "--no-lpips"),
    ),
    "plot": (
        ("plot", "shot.json"), ("plot", "shot.json", "off.json", "-o", "new.png"), ("plot", "changes.csv",
         "-o", "new.svg"),
        ("plot", "off.json", "--dark", "-o", "picture.png"),
    ),
    "replay": (
        ("replay", "off.json"), ("replay", "off.json", "--json"), ("replay", "off.json", "--speedup",
         "1.5,2"),
        ("replay", "off.json", "--sweep", "navicache.threshold=0.02:0.2:3", "-o", "new.png"),
        ("replay", "off.json", "--method", "navicache,easycache", "--threshold", "0.05,1", "--align-steps",
         "1"),
    ),
    "eval vbench": (
        ("eval", "vbench", "--vbench-python", "scorer", "--videos", "a", "--dimensions", "aesthetic_quality"),
        ("eval", "vbench", "--vbench-python", "scorer", "--steps", "2", "--seeds", "1", "--dimensions",
         "aesthetic_quality"),
        ("eval", "vbench", "--vbench-python", "scorer", "--prompts", "info.json", "--videos", "a",
         "--scores", "more"),
    ),
    "eval common": (
        ("eval", "common", "a", "b", "--no-lpips", "--output-dir", "common"), ("eval", "common", "a", "b",
         "--no-lpips", "--json"),
    ),
}  # fmt: skip
# generate and its like have the most to go wrong.
SHARES = {"generate": 7, "batch": 5, "compare": 3, "metrics": 2, "plot": 2, "replay": 2, "batch-report": 2}
GOOD = {
    "--steps": "2 3 5", "--seed": "1 7", "--frames": "5 1", "--mode": "fast slow off",
    "--solver": "dpm++ unipc",
    "--method": "navicache easycache teacache taylorseer magcache fbcache pab off",
    "--estimator": "dual scalar",
    "--predictor": "hold calibrated", "--threshold": "0.1", "--guidance": "1 3", "--speedup": "2",
    "--compute": "0.5",
    "--max-error": "0.1", "--model": "tiny wan diffusers",
    "--call": "a=1 max_sequence_length=[1,2]", "--output-dir": "new", "--output": "new.mp4 new.png",
    "--name": "{n}.mp4",
    "--seeds": "1 2", "--methods": "navicache easycache,pab", "--modes": "fast fast,off",
    "--shard": "1/2 2/2",
    "--config": "config.yaml", "--set": "steps=3 interval=2 order=1 retention=0.2", "--prompts": "one.txt",
    "--align-steps": "0 2",
}  # fmt: skip
# What reaches the network, takes minutes by design, or writes outside the folder of the call.
NEVER = {
    "--lpips",
    "--engine",
    "--ray-address",
    "--workers",
    "--retry",
    "--repo-url",
    "--install-completion",
    "--show-completion",
}
# A folder given by these would be written into, and some hostile places are writable for root.
WRITTEN = {"--output", "--output-dir", "--scores", "-o"}
WRITABLE = {".", "..", "/", "~", "", "/dev/stdin"}
ENCODINGS = (
    {"PYTHONIOENCODING": "cp1252"}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "utf-16"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "latin-1:strict"},
)  # fmt: skip
TERMS = (
    {},
    {"TERM": "dumb"},
    {"NO_COLOR": "1"},
    *({"COLUMNS": columns} for columns in ("1", "20", "0", "x")),
)
SETTINGS = ("steps", "ratios", "interval", "window", "coefficients", "broadcast", "fps", "nothing")
LIMITS = (
    *(("RLIMIT_FSIZE", most) for most in (0, 3000, 20_000)),
    *(("RLIMIT_AS", most) for most in (80 << 20, 400 << 20)),
)
STREAMS = ("file", "closed", "full", "broken", "terminal")


@dataclass
class Call:
    """One call of the program.

    Attributes:
        case: its number.
        command: the command as in BASES.
        arguments: what follows the program's name.
        environment: variables beside the fixed ones.
        stdin: null, text, zero or closed.
        limits: names of resource.setrlimit, and bytes: for memory, beyond what the call starts with.
        stdout, stderr: file, closed, full (/dev/full), broken (a pipe nobody reads) or terminal.
        spoilt: files of the ground that were replaced, and by what.
    """

    case: int
    command: str
    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    stdin: str = "null"
    stdout: str = "file"
    stderr: str = "file"
    limits: dict[str, int] = field(default_factory=dict)
    spoilt: dict[str, str] = field(default_factory=dict)


def make_call(seed: int, case: int, folder: Path, options: dict[str, Options]) -> Call:
    """Make up a call, and spoil files of its folder, which holds a copy of the ground.

    Args:
        seed, case: what it is made from.
        folder: where it will run.
        options: of each command.
    """
    rng = random.Random(f"{seed} {case}")
    names = list(BASES)
    command = rng.choices(names, [SHARES.get(name, 1) for name in names])[0]
    call = Call(case, command, list(rng.choice(BASES[command])))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3))):
        act = rng.choices((_spoil, _replace, _option, _drop, _variable, _surround), (14, 4, 7, 1, 2, 3))[0]
        act(rng, call, folder, options[command])
    call.arguments = [as_argument(word) for word in call.arguments]
    return call


def as_argument(text: str) -> str:
    """Text as the program finds it in its arguments: bytes that are no UTF-8 are halves of characters."""
    try:
        raw = os.fsencode(text)
    except UnicodeEncodeError:  # a half that stands for no byte
        raw = text.encode(errors="surrogatepass")
    return os.fsdecode(raw.replace(b"\x00", b""))


def _spoil(rng: random.Random, call: Call, folder: Path, options: Options) -> None:
    """Replace a file that the call names, or one in a folder that it names."""
    named = [word.split("=")[-1] for word in call.arguments]
    paths = [word for word in named if word.strip(".") and "/" not in word and os.path.exists(folder / word)]
    report = named[-1].removesuffix(".mp4") + ".json"
    if "/" not in report and os.path.isfile(folder / report):
        paths.append(report)
    if not paths:
        return
    path = folder / rng.choice(paths)
    if path.is_dir() and rng.random() < 0.9:
        inside = files_of(path)
        if inside:
            # Rather small documents than videos and pages.
            documents = [name for name in inside if name.endswith((".json", ".jsonl"))] or inside
            path /= rng.choice(documents if rng.random() < 0.7 else inside)
    call.spoilt[str(path.relative_to(folder))] = hostile.spoil(rng, path)


def _replace(rng: random.Random, call: Call, folder: Path, options: Options) -> None:
    """Replace a value or a positional argument."""
    places = [
        at
        for at, word in enumerate(call.arguments)
        if not word.startswith("-") and at >= len(call.command.split())
    ]
    if places:
        at = rng.choice(places)
        before = call.arguments[at - 1]
        call.arguments[at] = _value(rng, before if before.startswith("-") else "")


def _option(rng: random.Random, call: Call, folder: Path, options: Options) -> None:
    """Add an option, good or hostile."""
    if rng.random() < 0.06:
        call.arguments += [
            rng.choice(("--frobnicate", "-z", "--step", "--no-quiet", "--json=1", "--\x1b]0;owned\x07"))
        ]
        return
    name = rng.choice([option for option in options if option not in NEVER])
    call.arguments.append(name)
    if not options[name]:
        good = GOOD.get(name, "").split()
        call.arguments.append(rng.choice(good) if good and rng.random() < 0.5 else _value(rng, name))


def _value(rng: random.Random, option: str) -> str:
    text = hostile.value(rng)
    if option == "--set":
        text = f"{rng.choice(SETTINGS)}={text}"
    if option in WRITTEN:
        if text.strip("/. ") == "" or text in WRITABLE:
            text = "new"
        if not text.startswith("/") and rng.random() < 0.5:
            text += ".mp4"
    return text


def _drop(rng: random.Random, call: Call, folder: Path, options: Options) -> None:
    """Leave a word out; never one that keeps a call off the network."""
    places = [at for at, word in enumerate(call.arguments) if word not in ("--dry-run", "--no-lpips")]
    if len(places) > 1 and call.command != "setup":
        del call.arguments[rng.choice(places[1:])]


def _variable(rng: random.Random, call: Call, folder: Path, options: Options) -> None:
    """Set one of the program's variables."""
    name = rng.choice(
        [option for option in options if option.startswith("--") and not options[option]] or ["--steps"]
    )
    if name not in NEVER | WRITTEN:
        call.environment[f"NAVICACHE_{name[2:].replace('-', '_').upper()}"] = as_argument(hostile.value(rng))


def _surround(rng: random.Random, call: Call, folder: Path, options: Options) -> None:
    """Change encoding, terminal, standard streams or limits."""
    act = rng.randrange(5)
    if act == 0:
        call.environment |= rng.choice(ENCODINGS)
    elif act == 1:
        call.stdout = call.stderr = "terminal"
        call.environment |= rng.choice(TERMS)
    elif act == 2:
        call.stdin = rng.choice(("text", "zero", "closed"))
    elif act == 3:
        call.stdout, call.stderr = rng.choice(STREAMS), rng.choice(STREAMS)
    else:
        call.limits = dict([rng.choice(LIMITS)])
        call.stdout = call.stderr = "terminal"  # which is no file that has a limit
