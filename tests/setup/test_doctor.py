"""`navicache doctor` through the real program, on machines that lack one thing or another."""

from __future__ import annotations

import json
import shutil

import pytest

from backends import registry
from backends.official.installation import DOWNLOADED, installations
from navicache_cli.setup import doctor
from tests.machine import Machine, commit_files, git, importable_files, write_weights, write_whole
from tests.program import ROOT, assert_refused

WAN = installations()["wan"]


@pytest.fixture
def machine(tmp_path):
    made = Machine(tmp_path)
    made.entry_point("wan", "backends.wan:WanBackend")
    return made


def without_weights(machine, family, gigabytes):
    """Give the machine all that a family needs but weights."""
    commit_files(machine.repository(family), importable_files(family))
    machine.give_packages(family)
    machine.environment["GPU"] = gigabytes
    return machine


@pytest.fixture
def complete(machine):
    """A machine on which Wan2.1 t2v-1.3B would run: 24 GiB of GPU, code, packages, weights."""
    write_weights(machine.weights("Wan2.1-T2V-1.3B"), WAN.weights_called("Wan2.1-T2V-1.3B"))
    return without_weights(machine, "wan", "24")


def looked(machine, *arguments, code, **environment):
    """The rows by name, after checking the exit code."""
    done = machine.run("doctor", "--json", *arguments, **environment)
    assert done.returncode == code, (done.stdout, done.stderr)
    document = json.loads(done.stdout)
    assert document["ready"] == (code == 0)
    rows = {row["name"]: row for row in document["checks"]}
    assert (code == 0) == all(row["state"] != "missing" for row in rows.values())
    return rows


def weights_found(machine, family, **environment):
    """What is said of weights that keep `generate` from starting."""
    return looked(machine, "--model", family, code=4, **environment)["weights"]["found"]


def test_a_bare_machine_runs_tiny(machine):
    rows = looked(machine, code=0)
    rows.pop("diffusers video")  # Its packages may be there.
    assert {name: row["state"] for name, row in rows.items()} == {
        **dict.fromkeys(["Python", "torch", "GPU", "flash-attn", "ffmpeg", "tiny weights"], "ok"),
        **dict.fromkeys(["hunyuan t2v-544p", "opensora t2v", "wan t2v-1.3B", "wan2.2 t2v-A14B"], "warning"),
    }
    assert rows["ffmpeg"]["found"].startswith("ffmpeg version")
    wan = rows["wan t2v-1.3B"]
    assert wan["fix"] == "navicache doctor --model wan"
    for part in ("GPU", "repository", "weights"):
        assert part in wan["found"]
    done = machine.run("doctor")
    assert done.returncode == 0
    assert "generate --model tiny would start" in done.stdout
    assert "→ navicache doctor --model wan" in done.stdout


def test_what_a_bare_machine_lacks_for_wan(machine):
    rows = looked(machine, "--model", "wan", code=3)
    assert rows["GPU"]["state"] == "missing"
    found = rows["GPU memory"]["found"]
    assert found.startswith("no GPU; about 16.6 GiB of GPU memory, in text (weights 16.3, activations 0.2)")
    assert found.endswith(
        "; the makers say 8.19 GiB needed (Wan2.1 README: with offloading and T5 on the CPU)"
    )
    assert rows["repository"]["fix"] == rows["packages"]["fix"] == "navicache setup wan"
    assert rows["weights"]["fix"] == "navicache setup wan --weights Wan2.1-T2V-1.3B"
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
        "fix": "navicache setup wan",
    }
    assert "complete at" in rows["weights"]["found"]
    assert "disk space" not in rows
    assert looked(complete, code=0)["wan t2v-1.3B"] == {
        "name": "wan t2v-1.3B",
        "state": "ok",
        "found": "ready",
        "fix": "",
    }
    row = looked(complete, "--model", "wan", code=0, GPU="6")["GPU memory"]
    assert row["state"] == "warning"
    assert row["fix"] == "navicache memory --model wan --task t2v-1.3B"
    row = looked(complete, "--model", "wan", code=0, GPU="18", NAVICACHE_METHOD="pab")["GPU memory"]
    assert row["state"] == "warning"
    assert row["fix"].startswith("--method navicache, which keeps 0.04 GiB where pab keeps 11.2")


@pytest.mark.parametrize(
    ("damage", "code", "row", "told"),
    [
        (lambda m: shutil.rmtree(m.repository("wan")), 3, "repository", "needs its official repository"),
        (lambda m: (m.repository("wan") / WAN.official.files[2]).unlink(), 3, "repository", "clip.py"),
        (lambda m: m.give_package("diffusers", "0.30.0"), 3, "packages", "diffusers>=0.31.0 (0.30.0 found)"),
        (lambda m: m.environment.pop("GPU"), 3, "GPU", "none that torch can use"),
        (lambda m: m.environment.update(IMAGEIO_FFMPEG_EXE="/nowhere"), 3, "ffmpeg", "does not run"),
        (lambda m: shutil.rmtree(m.weights("")), 4, "weights", "expected the weights Wan2.1-T2V-1.3B at"),
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
            "found model_type t2v, dim 5120",
        ),
        (
            lambda m: m.environment.update(NAVICACHE_WEIGHTS="/nowhere"),
            4,
            "weights",
            "at /nowhere, found none",
        ),
        (lambda m: m.environment.update(NAVICACHE_REPO="/nowhere"), 3, "repository", "(--repo)"),
    ],
)
def test_one_thing_is_missing(complete, damage, code, row, told):
    damage(complete)
    rows = looked(complete, "--model", "wan", code=code)
    assert rows[row]["state"] == "missing"
    assert told in rows[row]["found"]
    assert rows[row]["fix"]
    assert [name for name, one in rows.items() if one["state"] == "missing"] == [row]


def test_packages_that_do_not_fit_together(complete):
    """As pip leaves them when it is asked for one of them alone."""
    complete.give_package("diffusers", "0.42.1", "huggingface-hub>=1.2", "numpy; extra == 'none'", "absent>1")
    complete.give_package("huggingface-hub", "0.36.0")
    row = looked(complete, "--model", "wan", code=0)["packages"]
    assert row["state"] == "warning", "the official code can be imported all the same"
    told = "diffusers 0.42.1 needs absent>1 (none found); diffusers 0.42.1 needs huggingface-hub>=1.2 (0.36.0"
    assert told in row["found"]
    assert row["fix"] == "navicache setup wan"


@pytest.mark.parametrize(
    ("code", "row", "told", "fix"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", "torchvision", "nms", "torchv"),
        ("from tokenizers import nothing", "import", "cannot import name 'nothing'", "setup wan --venv"),
        ("import os; os.write(2, b'Illegal instruction'); os._exit(4)", "import", "Illegal", "--venv"),
    ],
)
def test_official_code_that_cannot_be_imported(complete, code, row, told, fix):
    (complete.repository("wan") / "wan/__init__.py").write_text(code)
    found = looked(complete, "--model", "wan", code=3)[row]
    assert told in found["found"]
    assert fix in found["fix"]
    if row == "torchvision":
        assert " -m pip install --force-reinstall --no-deps 'torchvision==0." in found["fix"]
        started = complete.run("generate", "--model", "wan", GPU="80")
        assert_refused(started, 3, told, "pip install --force-reinstall --no-deps 'torchvision==0.")


def test_shards(complete):
    folder = complete.weights("Wan2.1-T2V-1.3B")
    whole = folder / "diffusion_pytorch_model.safetensors"
    whole.rename(folder / "diffusion_pytorch_model-00002-of-00003.safetensors")
    assert "diffusion_pytorch_model.safetensors is missing" in weights_found(complete, "wan")
    shards = {key: f"diffusion_pytorch_model-0000{key}-of-00003.safetensors" for key in "123"}
    for names, told in (
        (shards, f"incomplete: {shards['1']} is missing; {shards['3']} is missing"),
        ({"a": "../outside.safetensors"}, "index.json: it names '../outside.safetensors'"),
    ):
        index = folder / "diffusion_pytorch_model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": names}))
        assert told in weights_found(complete, "wan")


def test_tasks_have_their_own_weights_and_memory(complete):
    rows = looked(complete, "--model", "wan", "--task", "i2v-14B", code=4)
    assert rows["weights"]["found"].startswith("expected the weights Wan2.1-I2V-14B-720P at")
    assert rows["GPU memory"]["state"] == "warning"
    write_weights(complete.weights("Wan2.1-I2V-14B-720P"), WAN.weights_called("Wan2.1-I2V-14B-720P"))
    looked(complete, "--model", "wan", "--task", "i2v-14B", code=0)
    shutil.rmtree(complete.weights("Wan2.1-I2V-14B-720P") / "xlm-roberta-large")
    rows = looked(complete, "--model", "wan", "--task", "i2v-14B", code=4)
    assert "xlm-roberta-large is missing" in rows["weights"]["found"]


def test_both_experts_of_wan22_are_looked_at(machine):
    machine.entry_point("wan2.2", "backends.wan:Wan22Backend")
    without_weights(machine, "wan2.2", "80")
    rows = looked(machine, "--model", "wan2.2", code=4)
    assert rows["weights"]["fix"] == "navicache setup wan2.2 --weights Wan2.2-T2V-A14B"
    assert rows["GPU memory"]["state"] == "ok"
    assert rows["repository"]["found"].endswith("repos/wan2.2 (managed checkout)")
    folder = machine.weights("Wan2.2-T2V-A14B")
    write_weights(folder, installations()["wan2.2"].weights_called(folder.name))
    looked(machine, "--model", "wan2.2", code=0)
    file = "low_noise_model/diffusion_pytorch_model.safetensors"
    (folder / file).unlink()
    assert f"{file} is missing" in weights_found(machine, "wan2.2")
    refused = machine.run("doctor", "--model", "wan2.2", "--task", "s2v-14B")
    assert refused.returncode == 2
    assert "navicache does not run it" in refused.stderr


def test_fp8_files_where_they_are_wanted(machine):
    machine.entry_point("hunyuan", "backends.hunyuan:HunyuanBackend")
    without_weights(machine, "hunyuan", "80")
    folder = machine.weights("HunyuanVideo")
    write_weights(folder, installations()["hunyuan"].weights_called("HunyuanVideo"))
    looked(machine, "--model", "hunyuan", code=0)
    parts = ("mp_rank_00_model_states_fp8.pt", "mp_rank_00_model_states_fp8_map.pt")
    found = weights_found(machine, "hunyuan", NAVICACHE_FP8="1")
    for name in parts:
        assert f"transformers/{name} is missing" in found
    for name in parts:
        write_whole(folder / "hunyuan-video-t2v-720p/transformers" / name)
    looked(machine, "--model", "hunyuan", code=0, NAVICACHE_FP8="1")
    (folder / "hunyuan-video-t2v-720p/transformers" / parts[1]).unlink()
    assert f"{parts[1]} is missing" in weights_found(machine, "hunyuan", NAVICACHE_FP8="1")
    done = machine.run("doctor", "--model", "hunyuan", NAVICACHE_FP8="perhaps")
    assert done.returncode == 2
    assert "fp8 expects true or false, found 'perhaps'" in done.stderr


def test_a_transformer_of_another_model(machine):
    import torch

    machine.entry_point("hunyuan", "backends.hunyuan:HunyuanBackend")
    without_weights(machine, "hunyuan", "80")
    folder = machine.weights("HunyuanVideo")
    write_weights(folder, installations()["hunyuan"].weights_called("HunyuanVideo"))
    file = folder / "hunyuan-video-t2v-720p/transformers/mp_rank_00_model_states.pt"
    torch.save({"module": {"img_in.proj.weight": torch.zeros(8, 33, 1, 2, 2)}}, file)
    found = weights_found(machine, "hunyuan")
    assert "3072 wide, 16 latent channels, 20 + 40 blocks" in found
    assert "found 8 wide, 33 latent channels" in found


@pytest.mark.parametrize("family", ["opensora", "videosys"])
def test_open_sora_is_mended_by_the_code_that_is_there(machine, family):
    machine.entry_point("opensora", "backends.opensora:OpenSoraBackend")
    machine.environment["GPU"] = "80"
    commit_files(machine.repository("opensora"), importable_files(family))
    machine.give_packages(family)
    row = looked(machine, "--model", "opensora", code=4)["weights"]
    assert "expected the weights hpcai-tech/OpenSora-STDiT-v3 at" in row["found"]
    assert row["fix"] == f"navicache setup {family} --weights Open-Sora-1.2"


@pytest.fixture
def hub_cache(machine):
    """A machine with everything for Open-Sora, the weights in the hub's own cache; their folders by name."""
    pytest.importorskip("huggingface_hub", reason="pip install 'navicache[weights]'")
    shutil.rmtree(machine.root / "site/huggingface_hub")  # The real one looks into its cache.
    machine.entry_point("opensora", "backends.opensora:OpenSoraBackend")
    without_weights(machine, "opensora", "80").environment["HF_HOME"] = str(machine.root / "huggingface")
    weights = installations()["opensora"].weights_called("Open-Sora-1.2")
    write_weights(machine.root / "downloads", weights, downloads=True)
    folders = {}
    for part in weights.downloads:
        place = machine.root / "huggingface/hub" / f"models--{part.repository.replace('/', '--')}"
        folders[part.folder] = place / "snapshots" / ("0" * 40)
        (place / "refs").mkdir(parents=True)
        (place / "refs/main").write_text("0" * 40)
        folders[part.folder].parent.mkdir()
        (machine.root / "downloads" / part.repository).rename(folders[part.folder])
    return folders


def test_weights_in_the_hub_cache(machine, hub_cache):
    found = looked(machine, "--model", "opensora", code=0)["weights"]["found"]
    for folder in hub_cache.values():
        assert str(folder) in found


def test_weights_in_the_hub_cache_in_part(machine, hub_cache):
    (hub_cache["OpenSora-STDiT-v3"] / "model.safetensors").unlink()
    rows = looked(machine, "--model", "opensora", code=4)
    assert "hpcai-tech/OpenSora-STDiT-v3" in rows["weights"]["found"]
    assert "incomplete: model.safetensors is missing" in rows["weights"]["found"]
    assert rows["weights"]["fix"] == "hf download hpcai-tech/OpenSora-STDiT-v3", "into the cache"
    write_whole(hub_cache["OpenSora-STDiT-v3"] / "model.safetensors")
    (hub_cache["pixart_sigma_sdxlvae_T5_diffusers"] / "vae/diffusion_pytorch_model.safetensors").unlink()
    assert "vae/diffusion_pytorch_model.safetensors is missing" in weights_found(machine, "opensora")
    shutil.rmtree(hub_cache["t5-v1_1-xxl"].parents[1])
    shutil.rmtree(hub_cache["pixart_sigma_sdxlvae_T5_diffusers"].parents[1])
    rows = looked(machine, "--model", "opensora", code=4)
    assert "expected the weights PixArt-alpha/" in rows["weights"]["found"]
    assert rows["weights"]["fix"] == "navicache setup opensora --weights Open-Sora-1.2"
    assert rows["disk space"]["state"] == "ok"


def test_the_revision_that_was_downloaded(complete):
    """As `setup` notes it; where it was stopped on the way to another, `doctor` says so."""
    revision, name = "0123456789" * 4, "Wan2.1-T2V-1.3B"
    assert "at revision" not in looked(complete, "--model", "wan", code=0)["weights"]["found"]
    note = {"repository": f"Wan-AI/{name}", "revision": revision, "finished": True}
    (complete.weights(name) / DOWNLOADED).write_text(json.dumps(note))
    row = looked(complete, "--model", "wan", code=0)["weights"]
    assert row["state"] == "ok"
    assert row["found"].endswith(f"; Wan-AI/{name} at revision {revision[:7]}")
    (complete.weights(name) / DOWNLOADED).write_text(json.dumps({**note, "finished": False}))
    row = looked(complete, "--model", "wan", code=0)["weights"]
    assert (row["state"], row["fix"]) == ("warning", f"navicache setup wan --weights {name}")


def test_random_weights_need_no_files_and_small_ones_no_gpu(complete):
    shutil.rmtree(complete.weights(""))
    looked(complete, "--model", "wan", code=0, NAVICACHE_WEIGHTS="random")
    looked(complete, "--model", "wan", code=3, NAVICACHE_WEIGHTS="random", GPU="")
    looked(complete, "--model", "wan", code=0, NAVICACHE_WEIGHTS="random-small", GPU="")


def test_tiny_with_other_weights(machine):
    rows = looked(machine, "--model", "tiny", code=4, NAVICACHE_WEIGHTS=str(machine.root / "hub"))
    assert "config.json: No such file" in rows["tiny weights"]["found"]
    assert rows["tiny weights"]["fix"] == "unset NAVICACHE_WEIGHTS"


def test_a_family_of_another_package(machine):
    (machine.root / "site/easel.py").write_text(
        "class Easel:\n    name = 'easel'\n    check = load = None\n"
        "    def problem(self):\n        return 'no brushes'\n"
    )
    preset = (ROOT / "examples/plugin/navicache_dots/dots.yaml").read_text()
    (machine.root / "site/easel.yaml").write_text(preset.replace("model: dots", "model: easel"))
    machine.entry_point("easel", "easel:Easel")
    row = looked(machine, "--model", "easel", code=3)["easel"]
    assert row["found"] == "no brushes"
    assert "easel-backend 0" in row["fix"]


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


@pytest.mark.parametrize("family", ["diffusers", "wan2.2"])
def test_an_installation_older_than_its_sources_is_said(monkeypatch, family):
    """As after an update of a checkout that was not installed again: a preset without its entry point."""
    families = registry.families
    monkeypatch.setattr(registry, "families", lambda: [one for one in families() if one.name != family])
    row = next(row for row in doctor.model_checks(family, "") if row.name == "backend")
    assert (row.state, row.found) == (
        "missing",
        f"expected navicache's installation to list {family}, found it without",
    )
    assert "pip install -e ." in row.hint
    summary = next(row for row in doctor.summary_checks() if row.name.split()[0] == family)
    assert "backend" in summary.found
