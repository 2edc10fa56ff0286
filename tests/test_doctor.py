"""`navicache doctor` through the real program, on machines that lack one thing or another."""

from __future__ import annotations

import json
import shutil

import pytest

from backends.installation import installations
from tests.machine import Machine, commit_files, git, official_files, write_weights

WAN = installations()["wan"]


@pytest.fixture
def machine(tmp_path):
    made = Machine(tmp_path)
    made.entry_point("wan", "backends.wan:WanBackend")
    return made


@pytest.fixture
def complete(machine):
    """A machine on which Wan2.1 t2v-1.3B would run: 24 GiB of GPU, code, packages, weights."""
    commit_files(machine.repository("wan"), official_files(WAN))
    machine.give_packages("wan")
    write_weights(machine.weights("Wan2.1-T2V-1.3B"), WAN.weights_called("Wan2.1-T2V-1.3B"))
    machine.environment["GPU"] = "24"
    return machine


def looked(machine, *arguments, code, **environment):
    """The rows by name, after checking the exit code."""
    done = machine.run("doctor", "--json", *arguments, **environment)
    assert done.returncode == code, (done.stdout, done.stderr)
    document = json.loads(done.stdout)
    assert document["ready"] == (code == 0)
    rows = {row["name"]: row for row in document["checks"]}
    assert (code == 0) == all(row["state"] != "missing" for row in rows.values())
    return rows


def test_a_bare_machine_runs_tiny(machine):
    rows = looked(machine, code=0)
    assert {name: row["state"] for name, row in rows.items()} == {
        **dict.fromkeys(["Python", "torch", "GPU", "flash-attn", "ffmpeg", "tiny weights"], "ok"),
        **dict.fromkeys(["hunyuan t2v-544p", "opensora t2v", "wan t2v-1.3B"], "warning"),
    }
    assert rows["ffmpeg"]["found"].startswith("ffmpeg version")
    wan = rows["wan t2v-1.3B"]
    assert wan["mend"] == "navicache doctor --model wan"
    for part in ("GPU", "repository", "weights"):
        assert part in wan["found"]
    done = machine.run("doctor")
    assert done.returncode == 0
    assert "generate --model tiny would start" in done.stdout
    assert "→ navicache doctor --model wan" in done.stdout


def test_what_a_bare_machine_lacks_for_wan(machine):
    rows = looked(machine, "--model", "wan", code=3)
    assert rows["GPU"]["state"] == "missing"
    assert rows["GPU memory"]["found"] == (
        "no GPU; 8.19 GiB needed (Wan2.1 README: with offloading and T5 on the CPU)"
    )
    assert rows["repository"]["mend"] == rows["packages"]["mend"] == "navicache setup wan"
    assert rows["weights"]["mend"] == "navicache setup wan --weights Wan2.1-T2V-1.3B"
    assert rows["disk space"]["found"].startswith("1000 GB free at ")
    done = machine.run("doctor", "--model", "wan")
    assert done.returncode == 3
    assert "generate --model wan would not start" in done.stdout
    assert "→ navicache setup wan --weights Wan2.1-T2V-1.3B" in done.stdout
    assert looked(machine, "--model", "wan", code=3, FREE_GB="2")["disk space"]["state"] == "warning"


def test_a_machine_with_everything(complete):
    rows = looked(complete, "--model", "wan", code=0)
    assert rows["GPU"]["found"] == "Test GPU, 24.0 GiB"
    assert rows["GPU memory"]["state"] == "ok"
    assert rows["repository"]["found"].endswith("repos/wan (managed checkout)")
    head = git(complete.repository("wan"), "rev-parse", "HEAD")[:7]
    assert rows["commit"] == {
        "name": "commit",
        "state": "warning",
        "found": f"{head}; tested: 9737cba",
        "mend": "navicache setup wan",
    }
    assert "complete at" in rows["weights"]["found"]
    assert looked(complete, code=0)["wan t2v-1.3B"] == {
        "name": "wan t2v-1.3B",
        "state": "ok",
        "found": "ready",
        "mend": "",
    }
    assert looked(complete, "--model", "wan", code=0, GPU="6")["GPU memory"]["state"] == "warning"


@pytest.mark.parametrize(
    ("damage", "code", "row", "told"),
    [
        (lambda m: shutil.rmtree(m.repository("wan")), 3, "repository", "needs its official repository"),
        (lambda m: (m.repository("wan") / WAN.official.files[2]).unlink(), 3, "repository", "clip.py"),
        (lambda m: m.give_package("diffusers", "0.30.0"), 3, "packages", "diffusers>=0.31.0 (0.30.0 found)"),
        (lambda m: m.environment.pop("GPU"), 3, "GPU", "none that torch can use"),
        (lambda m: m.environment.update(IMAGEIO_FFMPEG_EXE="/nowhere"), 3, "ffmpeg", "does not run"),
        (lambda m: shutil.rmtree(m.weights("")), 4, "weights", "no Wan2.1-T2V-1.3B"),
        (
            lambda m: (m.weights("Wan2.1-T2V-1.3B") / "Wan2.1_VAE.pth").write_bytes(b"cut"),
            4,
            "weights",
            "Wan2.1_VAE.pth is cut short",
        ),
        (
            lambda m: (m.weights("Wan2.1-T2V-1.3B") / "config.json").write_text('{"dim": 5120}'),
            4,
            "weights",
            "config.json is of other weights: dim 5120, not 1536",
        ),
        (
            lambda m: m.environment.update(NAVICACHE_WEIGHTS="/nowhere"),
            4,
            "weights",
            "nothing at /nowhere",
        ),
        (lambda m: m.environment.update(NAVICACHE_REPO="/nowhere"), 3, "repository", "(--repo)"),
    ],
)
def test_one_thing_is_missing(complete, damage, code, row, told):
    damage(complete)
    rows = looked(complete, "--model", "wan", code=code)
    assert rows[row]["state"] == "missing"
    assert told in rows[row]["found"]
    assert rows[row]["mend"]
    assert [name for name, one in rows.items() if one["state"] == "missing"] == [row]


def test_shards(complete):
    folder = complete.weights("Wan2.1-T2V-1.3B")
    whole = folder / "diffusion_pytorch_model.safetensors"
    whole.rename(folder / "diffusion_pytorch_model-00002-of-00003.safetensors")
    found = looked(complete, "--model", "wan", code=4)["weights"]["found"]
    assert "diffusion_pytorch_model-00001-of-00003.safetensors is missing" in found
    assert "diffusion_pytorch_model-00003-of-00003.safetensors is missing" in found
    shutil.copy(folder / "diffusion_pytorch_model-00002-of-00003.safetensors", whole)
    for names, told in (
        ({"a": "other.safetensors"}, "other.safetensors is missing"),
        ({"a": "../outside.safetensors"}, "index.json cannot be used: it names '../outside.safetensors'"),
    ):
        index = folder / "diffusion_pytorch_model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": names}))
        assert told in looked(complete, "--model", "wan", code=4)["weights"]["found"]


def test_tasks_have_their_own_weights_and_memory(complete):
    rows = looked(complete, "--model", "wan", "--task", "i2v-14B", code=4)
    assert rows["weights"]["found"] == "no Wan2.1-I2V-14B-720P"
    assert rows["GPU memory"]["state"] == "warning"
    write_weights(complete.weights("Wan2.1-I2V-14B-720P"), WAN.weights_called("Wan2.1-I2V-14B-720P"))
    looked(complete, "--model", "wan", "--task", "i2v-14B", code=0)
    shutil.rmtree(complete.weights("Wan2.1-I2V-14B-720P") / "xlm-roberta-large")
    rows = looked(complete, "--model", "wan", "--task", "i2v-14B", code=4)
    assert "xlm-roberta-large is missing" in rows["weights"]["found"]


def test_random_weights_need_no_files_and_small_ones_no_gpu(complete):
    shutil.rmtree(complete.weights(""))
    looked(complete, "--model", "wan", code=0, NAVICACHE_WEIGHTS="random")
    looked(complete, "--model", "wan", code=3, NAVICACHE_WEIGHTS="random", GPU="")
    looked(complete, "--model", "wan", code=0, NAVICACHE_WEIGHTS="random-small", GPU="")


def test_tiny_with_other_weights(machine):
    rows = looked(machine, "--model", "tiny", code=4, NAVICACHE_WEIGHTS=str(machine.root / "hub"))
    assert "config.json is missing" in rows["tiny weights"]["found"]


def test_a_family_of_another_package(machine):
    (machine.root / "site/easel.py").write_text(
        "class Easel:\n    name = 'easel'\n    def problem(self):\n        return 'no brushes'\n"
    )
    machine.entry_point("easel", "easel:Easel")
    assert looked(machine, "--model", "easel", code=3)["easel"]["found"] == "no brushes"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--model", "won"), "did you mean wan?"),
        (("--model", "wan", "--task", "t2v-14"), "did you mean t2v-14B?"),
        (("--task", "t2v-14B"), "--task expects a --model"),
    ],
)
def test_wrong_names(machine, arguments, told):
    done = machine.run("doctor", *arguments)
    assert done.returncode == 2
    assert told in done.stderr
