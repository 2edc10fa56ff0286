"""The Python and shell snippets of README and of the pages for users run as they stand there.

Those of one page run in their order, in one folder; its Python snippets share their names. What a reader has
already, such as `pipe`, is given here: it is the exported `tiny`. A line `<!-- not run: REASON -->` above a
snippet leaves it out.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import clean_environment
from tests.program import ROOT, invoke

pytest.importorskip("accelerate", reason="pip install 'navicache[diffusers]' to load exported folders")

PAGES = (
    "README.md",
    *(f"docs/{name}.md" for name in ("start", "choose", "command-line", "library", "diffusers")),
)
# What `tiny` was trained on; Wan's own defaults would take minutes.
SIZE = {"height": 64, "width": 64, "num_frames": 17, "guidance_scale": 4.0}
# Models of the hub, which nothing is downloaded of: `tiny` has their classes.
ON_THE_HUB = ("Wan-AI/Wan2.1-T2V-1.3B-Diffusers",)
STEPS = 50  # of the samplers below, as the snippets say
SHELL_STEPS = "8"  # of videos that shell snippets make without saying how many


@dataclass(frozen=True)
class Snippet:
    """A block of code; `line` is that of its first line, `not_run` the reason why it is left out."""

    page: str
    line: int
    language: str
    code: str
    not_run: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def run(self, names: dict[str, Any], shell: Callable[[str], None]) -> None:
        """Run it in the present folder; an error of Python's shows the line of the page."""
        if self.language == "sh":
            shell(self.code)
        else:
            exec(compile("\n" * (self.line - 1) + self.code, self.page, "exec"), names)


def snippets(page: str, text: str) -> list[Snippet]:
    """Those in a page, blocks of `text` left out."""
    found: list[Snippet] = []
    reason, language, lines = "", None, []
    for number, line in enumerate(text.splitlines(), 1):
        if language is None and line.startswith("```"):
            language, lines = line[3:], []
        elif language is not None and line == "```":
            if language != "text":
                code = "\n".join(lines) + "\n"
                found.append(Snippet(page, number - len(lines), language, code, reason))
            reason, language = "", None
        elif language is not None:
            lines.append(line)
        elif marked := re.fullmatch(r"<!-- not run: (.+) -->", line):
            reason = marked[1]
        elif line and not line.startswith("<!--"):
            reason = ""
    return found


SNIPPETS = [snippet for page in PAGES for snippet in snippets(page, (ROOT / page).read_text())]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("exported") / "tiny"
    invoke("export-tiny", made)
    return made


@pytest.fixture
def _small(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of the hub are `tiny`, and pipelines make its small videos."""
    from diffusers import WanPipeline

    import backends.tiny.exported  # noqa: F401  where diffusers finds the classes

    load, call = WanPipeline.from_pretrained, WanPipeline.__call__

    @wraps(call)
    def small(pipe: Any, *arguments: Any, **options: Any) -> Any:
        pipe.set_progress_bar_config(disable=True)
        return call(pipe, *arguments, **{**SIZE, **options})

    monkeypatch.setattr(WanPipeline, "__call__", small)
    monkeypatch.setattr(
        WanPipeline, "from_pretrained", lambda name: load(exported if name in ON_THE_HUB else name)
    )


@pytest.fixture(scope="module")
def given(exported: Path) -> Callable[[str], dict[str, Any]]:
    """What the reader of a page has at its start, under the names that snippets use."""
    from diffusers import WanPipeline

    import backends.tiny.exported  # noqa: F401

    pipe = WanPipeline.from_pretrained(exported)
    with torch.no_grad():
        prompt_embeds, _ = pipe.encode_prompt("a red circle", do_classifier_free_guidance=False)
    start = torch.randn(1, 16, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    timesteps = torch.linspace(1000, 20, STEPS).split(1)

    def sampler(model: Any) -> torch.Tensor:
        latents = start
        for t in timesteps:
            latents = latents - model(latents, t, prompt_embeds, return_dict=False)[0] / STEPS
        return latents

    @cache
    def of(page: str) -> dict[str, Any]:
        return {
            "pipe": pipe,
            "model": pipe.transformer,
            "sampler": sampler,
            "timesteps": timesteps,
            "windows": lambda step: [start[:, :, :1], start[:, :, 1:2]],
            "prompt_embeds": prompt_embeds,
        }

    return of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder that a page's snippets run in."""

    @cache
    def of(page: str) -> Path:
        made = tmp_path_factory.mktemp(Path(page).stem)
        (made / "prompt.txt").write_text("a blue ring growing\n")
        (made / "prompts.txt").write_text("a blue ring growing\na green star still\n")
        return made

    return of


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], None]:
    """Runs commands in the present folder; `navicache` is this one, and nothing is installed."""
    programs = tmp_path_factory.mktemp("bin")
    for name, command in {
        "navicache": f'exec "{sys.executable}" -m navicache_cli "$@"',
        "pip": "echo 'a snippet that installs must be marked: <!-- not run: REASON -->' >&2; exit 1",
    }.items():
        program = programs / name
        program.write_text(f"#!/bin/sh\n{command}\n")
        program.chmod(0o755)

    def run(code: str) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", code],
            env=clean_environment(
                PATH=f"{programs}{os.pathsep}{os.environ['PATH']}",
                PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
                NAVICACHE_STEPS=SHELL_STEPS,
            ),
            capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (
            f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        )

    return run


@pytest.mark.parametrize("snippet", SNIPPETS, ids=str)
@pytest.mark.usefixtures("_small")
def test_a_snippet_runs(snippet: Snippet, given, folder, shell, monkeypatch: pytest.MonkeyPatch):
    if snippet.not_run:
        pytest.skip(f"{snippet}: {snippet.not_run}")
    if snippet.language == "sh" and shutil.which("bash") is None:
        pytest.skip("needs bash")
    monkeypatch.chdir(folder(snippet.page))
    with torch.no_grad():
        snippet.run(given(snippet.page), shell)


def test_every_page_has_snippets_of_known_kinds():
    assert {snippet.page for snippet in SNIPPETS if not snippet.not_run} == set(PAGES)
    assert {snippet.language for snippet in SNIPPETS} == {"python", "sh"}


PAGE = """# A page

<!-- not run: takes an hour -->
<!-- setup -->
```sh
exit 3
```

<!-- not run: belongs to the paragraph below -->
Text.

```python
a = 1
nothing(a)
```

```text
not code
```

```sh
navicache generate --mode none-such
```
"""


def test_a_broken_snippet_fails(shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    left_out, python, command = snippets("page.md", PAGE)
    assert (str(left_out), left_out.not_run) == ("page.md:6", "takes an hour")
    assert (str(python), python.language, python.not_run) == ("page.md:13", "python", "")
    with pytest.raises(NameError) as raised:
        python.run({}, shell)
    assert (raised.traceback[-1].path, raised.traceback[-1].lineno + 1) == ("page.md", 14)
    with pytest.raises(AssertionError, match=r"exit code 2\n(.*\n)*.*none-such"):
        command.run({}, shell)
    with pytest.raises(AssertionError, match="must be marked"):
        shell("pip install nothing")
