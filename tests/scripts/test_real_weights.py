"""scripts/real_weights.sh on tiny, with a list of prompts like VBench's."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import clean_environment
from tests.program import ROOT, loaded_script
from tests.vbench_standin import INFO, PROMPTS


@pytest.fixture(scope="module")
def prompts():
    yield from loaded_script("vbench_prompts")


def entry(number, *dimensions):
    return {"prompt_en": f"prompt {number}", "dimension": list(dimensions)}


def test_as_many_of_each_dimension(prompts, tmp_path):
    names = list(prompts.DIMENSIONS)
    entries = [entry(16 * k + d, name) for k in range(9) for d, name in enumerate(names)]
    (tmp_path / "info.json").write_text(json.dumps(entries))
    chosen = prompts.choose(tmp_path / "info.json", 32)
    assert len(set(chosen)) == 32
    numbers = [int(prompt.split()[1]) for prompt in chosen]
    assert [number % 16 for number in numbers] == [*range(16), *range(16)], "one of each in turn"
    assert {number // 16 for number in numbers} == {2, 6}, "of nine the third and the seventh"


def test_prompts_that_dimensions_share_count_once(prompts, tmp_path):
    shared = [entry(0, *prompts.DIMENSIONS), *(entry(n, "color") for n in range(1, 40))]
    (tmp_path / "info.json").write_text(json.dumps(shared))
    chosen = prompts.choose(tmp_path / "info.json", 32)
    assert len(set(chosen)) == 32
    assert chosen[0] == "prompt 0"


def test_compares_and_goes_on(tmp_path):
    program = tmp_path / "bin/navicache"
    program.parent.mkdir()
    for name, module in (("navicache", "-m navicache_cli"), ("python3", "")):
        (program.with_name(name)).write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
        (program.with_name(name)).chmod(0o755)
    environment = clean_environment(
        PATH=f"{program.parent}{os.pathsep}{os.environ['PATH']}", PYTHONPATH=str(ROOT),
        PROMPT_PATH=str(INFO), PROMPTS="1", STEPS="8", CUDA_VISIBLE_DEVICES="",
    )  # fmt: skip
    command = [
        "bash", str(ROOT / "scripts/real_weights.sh"), "--model", "tiny", "--align-steps", "1", "--no-lpips",
    ]  # fmt: skip

    def run():
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=False
        )

    done = run()
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "real-weights/compare.json").read_text())
    names = ["off", "published 2x", "calibrated 2x", "half the steps"]
    assert [one["name"] for one in found["settings"]] == names
    assert len(found["cells"]) == 4
    assert set(found["prompts"]) < set(PROMPTS)
    assert (tmp_path / "real-weights/index.html").is_file()
    again = run()
    assert again.returncode == 0
    assert json.loads((tmp_path / "real-weights/compare.json").read_text())["cells"] == found["cells"]
