"""One small comparison that several test files look at: two prompts, one of them hostile, seven settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROMPTS = (
    "a red circle moving right on a dark striped background",
    "a blue ring moving up </script><script>window.stolen = 1</script> "
    '<img src=x onerror="window.stolen = 1"> &amp;',
)
SETTINGS = (
    "navicache fast", "navicache threshold 0.001", "navicache threshold 5", "easycache fast",
    "fewer-steps 4", "fewer-steps 3", "fewer-steps 2",
)  # fmt: skip


@dataclass(frozen=True)
class Made:
    """A comparison on disk, its document, and what was said."""

    folder: Path
    document: dict
    stderr: str


def arguments(folder: Path, prompts: Path, steps: int = 6) -> list[str]:
    """Arguments of the program that make it."""
    return [
        "compare", "--methods", "navicache,easycache,fewer-steps", "--modes", "fast",
        "--sweep", "navicache.threshold=0.001:5:2", "--prompts", str(prompts), "--seed", "3",
        "--steps", str(steps), "--align-steps", "2", "--no-lpips", "--output-dir", str(folder), "--json",
    ]  # fmt: skip
