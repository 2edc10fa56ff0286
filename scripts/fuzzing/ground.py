"""Good files that calls are made of: what the program itself writes, and what a user would."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "backends/tiny/weights"
SHORT = ("--steps", "4", "--align-steps", "1", "--threshold", "1000")
PROMPTS = ("a red circle moving right", "a blue star growing")
# What the program makes, in this order.
COMMANDS = (
    ("generate", *SHORT, "-o", "shot.mp4", "--baseline"),
    ("generate", "--steps", "4", "--mode", "off", "--trajectory", "-o", "off.mp4"),
    ("batch", "prompts.txt", *SHORT, "--output-dir", "batch", "--baseline"),
    ("compare", "--methods", "navicache,fewer-steps", "--modes", "fast", "--prompts", "one.txt", "--steps",
     "4", "--align-steps",
     "1", "--no-lpips", "--output-dir", "compare"),
    ("calibrate", "--steps", "4", "-o", "ratios.json"),
    ("schedule", "--steps", "4", "--prompts", "one.txt", "--speedup", "2", "-o", "schedule.yaml"),
    ("export-tiny", "pipeline"),
    ("eval", "common", "a", "b", "--no-lpips", "--output-dir", "common"),
)  # fmt: skip
CONFIG = "steps: 4\nalign_steps: 1\nthreshold: 1000\nprompt: a green ring still\nmode: fast\n"
ROWS = [{"prompt": prompt, "steps": 3, "align_steps": 1, "threshold": 1000} for prompt in PROMPTS]


def write_given(folder: Path) -> None:
    """Write what a user would."""
    import imageio.v3 as imageio
    import numpy as np

    folder.mkdir()
    (folder / "prompts.txt").write_text("".join(f"{prompt}\n" for prompt in PROMPTS))
    (folder / "one.txt").write_text(f"{PROMPTS[0]}\n")
    (folder / "scene.txt").write_text("a purple square shrinking\n")
    (folder / "prompts.csv").write_text("prompt,steps,seed\na red circle,4,1\na blue star,3,2\n")
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    entries = [{"prompt_en": prompt, "dimension": ["aesthetic_quality"]} for prompt in PROMPTS]
    (folder / "info.json").write_text(json.dumps(entries))
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "settings.yaml").write_text(
        '"navicache 2x": {method: navicache, threshold: 0.05}\n"few": {method: fewer-steps, steps: 2}\n'
    )
    changes = (ROOT / "scripts/tiny_changes.csv").read_text().splitlines()
    (folder / "changes.csv").write_text("\n".join(changes[:120]) + "\n")
    frames = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3)).astype(np.uint8)
    imageio.imwrite(folder / "picture.png", frames[0])
    imageio.imwrite(folder / "moving.gif", frames, duration=100)
    scorer = folder / "scorer"  # in the place of a Python that has vbench
    scorer.write_text('#!/bin/sh\nexec echo \'{"version": "0.1.5", "prompts": "info.json"}\'\n')
    scorer.chmod(0o755)
    (folder / "taken.json").mkdir()  # where the report of taken.mp4 belongs
    (folder / "weights").mkdir()
    for path in WEIGHTS.iterdir():
        if path.suffix == ".json":
            shutil.copy(path, folder / "weights")
        else:
            (folder / "weights" / path.name).symlink_to(path)


def collect_pairs(folder: Path) -> None:
    """Two folders of videos of the same names, once there are videos."""
    for name, source in (("a", "shot.mp4"), ("b", "off.mp4")):
        (folder / name).mkdir()
        shutil.copy(folder / source, folder / name / "one.mp4")


def copy_ground(ground: Path, folder: Path) -> None:
    """Copy the ground for one call; weights stay links."""
    shutil.copytree(ground, folder, symlinks=True)


def files_of(folder: Path) -> list[str]:
    """Paths, below the folder, of all that is no folder, in a fixed order."""
    found = []
    for root, _, names in os.walk(folder):
        found += [os.path.relpath(os.path.join(root, name), folder) for name in names]
    return sorted(found)
