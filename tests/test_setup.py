"""`navicache setup` through the real program, with a local mirror and a stand-in for the hub."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import time
import zipfile

import pytest

from backends.installation import installations
from tests.machine import Machine, commit_files, git, official_files, write_weights, write_whole
from tests.program import assert_refused

WAN = installations()["wan"]
SMALL = "Wan2.1-T2V-1.3B"


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture
def mirror(machine):
    """A repository with two commits; its address and their hashes."""
    folder = machine.root / "mirror"
    first = commit_files(folder, official_files(WAN, "first"))
    return str(folder), first, commit_files(folder, official_files(WAN, "second"))


@pytest.fixture
def ready(machine, mirror):
    """A machine with packages; runs setup from the mirror at its first commit."""
    machine.give_packages("wan")

    def run(*arguments, commit=mirror[1], url=mirror[0], **environment):
        return machine.run("setup", "wan", "--repo-url", url, "--commit", commit, *arguments, **environment)

    return run


def snapshot(folder):
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}


def test_clone_at_a_commit_and_again(machine, ready, mirror):
    done = ready()
    assert done.returncode == 0, done.stderr
    place = machine.repository("wan")
    assert git(place, "rev-parse", "HEAD") == mirror[1]
    assert (place / WAN.official.files[0]).read_text() == "first"
    assert [path.name for path in place.parent.iterdir()] == ["wan"]
    before = snapshot(machine.root / "cache")
    again = ready(commit=mirror[1][:9], url="/nowhere")
    assert again.returncode == 0
    assert "nothing was changed" in again.stdout
    assert snapshot(machine.root / "cache") == before


def test_another_commit(machine, ready, mirror):
    ready()
    place = machine.repository("wan")
    (place / "notes.txt").write_text("not in git, no change of the official code")
    assert ready(commit=mirror[2]).returncode == 0
    assert git(place, "rev-parse", "HEAD") == mirror[2]
    newer = commit_files(machine.root / "mirror", {"new.txt": "new"})
    assert machine.run("setup", "wan", "--commit", newer).returncode == 0, "fetched from where it was cloned"
    assert git(place, "rev-parse", "HEAD") == newer
    assert (place / "notes.txt").exists()
    assert_refused(ready(commit="1234567"), 3, "neither the checkout nor")
    assert git(place, "rev-parse", "HEAD") == newer


def test_local_changes_are_kept(machine, ready, mirror):
    ready()
    changed = machine.repository("wan") / WAN.official.files[1]
    changed.write_text("mine")
    assert_refused(
        ready(commit=mirror[2]), 3, "no local changes", f"found 1: {WAN.official.files[1]}", "stash"
    )
    assert changed.read_text() == "mine"
    assert ready().returncode == 0, "at the right commit there is nothing to do"


def test_something_else_in_the_managed_place(machine, ready):
    place = machine.repository("wan")
    place.mkdir(parents=True)
    (place / "precious.txt").write_text("mine")
    assert_refused(ready(), 3, "expected a git checkout", "found a folder without", "move")
    assert (place / "precious.txt").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"url": "/nowhere"}, "git says fatal: repository '/nowhere' does not exist"),
        ({"url": "--upload-pack=touch harm"}, "git says fatal"),
        ({"commit": "1234567"}, "git says"),
    ],
)
def test_failed_clones_leave_nothing(machine, ready, change, told):
    assert_refused(ready(**change), 3, told)
    assert list(machine.repository("wan").parent.iterdir()) == []
    assert list((machine.root / "work").iterdir()) == []


def test_another_repository(machine, ready, tmp_path):
    commit = commit_files(tmp_path / "other", {"README.md": "other"})
    done = ready(url=str(tmp_path / "other"), commit=commit)
    assert_refused(done, 3, "expected Wan2.1 with wan/modules/model.py", "Wan-Video/Wan2.1")
    assert list(machine.repository("wan").parent.iterdir()) == []


def test_interrupted_clone_leaves_nothing(machine, ready, mirror):
    programs = machine.root / "bin"
    programs.mkdir()
    slow = programs / "git"
    slow.write_text(
        '#!/bin/sh\nfor place; do :; done\nmkdir -p "$place"\necho half > "$place/half"\nsleep 60\n'
    )
    slow.chmod(slow.stat().st_mode | stat.S_IXUSR)
    part = machine.repository("wan").with_name(".wan.part")
    arguments = ("setup", "wan", "--repo-url", mirror[0], "--commit", mirror[1])
    for kind, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        process = machine.start(*arguments, PATH=f"{programs}{os.pathsep}{os.environ['PATH']}")
        give_up = time.monotonic() + 60
        while not (part / "half").exists() and time.monotonic() < give_up:
            time.sleep(0.05)
        assert (part / "half").exists()
        os.killpg(process.pid, kind)
        _, told = process.communicate(timeout=60)
        assert process.returncode == code, told
        assert not machine.repository("wan").exists()
        assert part.exists() == (kind == signal.SIGKILL)
    assert ready().returncode == 0, "what a killed run left is in nobody's way"
    assert not part.exists()


def test_dry_run_prints_what_would_work(machine, ready, mirror):
    done = ready("--dry-run", "--weights", SMALL)
    assert done.returncode == 0
    assert not (machine.root / "cache").exists()
    lines = done.stdout.splitlines()
    assert lines[-1] == f"hf download Wan-AI/{SMALL} --local-dir {machine.weights(SMALL)}"
    subprocess.run(["sh", "-ec", "\n".join(lines[:-1])], check=True, capture_output=True)
    assert git(machine.repository("wan"), "rev-parse", "HEAD") == mirror[1]
    again = ready("--dry-run")
    assert not [line for line in again.stdout.splitlines() if not line.startswith("#")]
    assert "nothing to do" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("setup", "won"), "did you mean wan?"),
        (("setup", "wan", "--weights", "Wan2.1-T2V-1.3"), "did you mean Wan2.1-T2V-1.3B?"),
        (("setup", "wan", "--weights", "../../x"), "unknown weights of wan"),
        (("setup", "wan", "--commit", "main"), "--commit expects a hash"),
        (("setup", "wan", "--commit", "--force"), "--commit expects a hash"),
    ],
)
def test_wrong_names(machine, arguments, told):
    assert_refused(machine.run(*arguments), 2, told)
    assert not (machine.root / "cache").exists()


def test_no_git(machine, ready):
    assert_refused(ready(PATH=""), 3, "expected the program git, found none")


def test_unwritable_place(machine, ready):
    (machine.root / "cache").write_text("a file")
    assert_refused(ready(), 6, "cannot write", "XDG_CACHE_HOME")


def missing_package():
    missing = [package.name for package in WAN.packages if not package.found() and not package.module]
    if not missing:
        pytest.skip("run it where a package of wan is missing, such as after pip uninstall easydict")
    return missing[-1]


def test_packages_are_left_to_pip(machine, ready):
    name = missing_package()
    for path in (machine.root / "site").glob(f"{name}-*.dist-info"):
        (path / "METADATA").unlink()
        path.rmdir()
    done = ready()
    assert_refused(done, 3, f"pip could not install {name}", "exit status 1", "pip install")
    assert machine.repository("wan").is_dir(), "what was finished stays"
    planned = ready("--dry-run").stdout.splitlines()[-1]
    assert planned.endswith(name) or f"'{name}" in planned
    assert " torch==" in planned, "pip may not change torch"
    wheels = machine.root / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / f"{name}-9.0-py3-none-any.whl", "w") as wheel:
        info = f"{name}-9.0.dist-info"
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    done = ready(PIP_FIND_LINKS=str(wheels), PIP_DRY_RUN="1", PIP_NO_DEPS="1")
    assert done.returncode == 0, done.stderr
    assert f"Would install {name}-9.0" in done.stderr
    assert "Would install" not in done.stdout


@pytest.fixture
def hub(machine):
    """The hub holds the small Wan2.1 weights."""
    weights = WAN.weights_called(SMALL)
    write_weights(machine.root / "hub", weights, downloads=True)
    return weights


def test_download_and_again(machine, ready, hub):
    done = ready("--weights", SMALL)
    assert done.returncode == 0, done.stderr
    folder = machine.weights(SMALL)
    assert hub.locate(str(folder), None, False) == [folder]
    assert [call[:2] for call in machine.calls()] == [[f"Wan-AI/{SMALL}", str(folder)]]
    before = snapshot(machine.root / "cache")
    again = ready("--weights", SMALL)
    assert again.returncode == 0
    assert "nothing was changed" in again.stdout
    assert len(machine.calls()) == 1
    assert snapshot(machine.root / "cache") == before


def test_a_download_goes_on_where_it_stopped(machine, ready, hub):
    done = ready("--weights", SMALL, HUB_LIMIT="2")
    assert_refused(done, 4, "stopped: the network went away", f"navicache setup wan --weights {SMALL}")
    assert ready("--weights", SMALL).returncode == 0
    (_, _, first), (_, _, second) = machine.calls()
    assert len(first) == 2
    assert second
    assert not set(first) & set(second)


def test_incomplete_and_damaged_downloads(machine, ready, hub):
    source = machine.root / "hub/Wan-AI" / SMALL
    (source / "Wan2.1_VAE.pth").unlink()
    assert_refused(ready("--weights", SMALL), 4, "incomplete: Wan2.1_VAE.pth is missing")
    (machine.weights(SMALL) / "diffusion_pytorch_model.safetensors").write_bytes(b"cut")
    write_whole(source / "Wan2.1_VAE.pth")
    assert_refused(
        ready("--weights", SMALL), 4, "diffusion_pytorch_model.safetensors is cut short or damaged"
    )


def test_disk(machine, ready, hub):
    assert_refused(ready("--weights", SMALL, FREE_GB="5"), 6, "expected 18 GB of free disk", "found 5.0 GB")
    assert machine.calls() == []
    assert_refused(ready("--weights", SMALL, HUB_LIMIT="1", HUB_DISK_FULL="1"), 6, "No space left on device")


@pytest.mark.parametrize("works", [True, False])
def test_weights_that_are_prepared(machine, works):
    hunyuan = installations()["hunyuan"]
    weights = hunyuan.weights[0]
    machine.give_packages("hunyuan")
    write_weights(machine.root / "hub", weights, downloads=True)
    made = machine.root / "hub/tencent/HunyuanVideo/text_encoder"
    prepared = made.rename(machine.root / "prepared")
    llava = machine.root / "hub/xtuner/llava-llama-3-8b-v1_1-transformers/config.json"
    llava.parent.mkdir(parents=True)
    llava.write_text("{}")
    (machine.root / "hub/openai/clip-vit-large-patch14/flax_model.msgpack").write_text("not needed")
    script = (
        "import shutil, sys\n_, a, source, b, target = sys.argv\n"
        "assert (a, b) == ('--input_dir', '--output_dir') and open(source + '/config.json').read() == '{}'\n"
        + (f"shutil.copytree({str(prepared)!r}, target)\n" if works else "sys.exit('no GPU')\n")
    )
    files = {**official_files(hunyuan), weights.prepare[0]: script}
    commit = commit_files(machine.root / "mirror", files)
    address = ("--repo-url", str(machine.root / "mirror"), "--commit", commit)
    done = machine.run("setup", "hunyuan", *address, "--weights", "HunyuanVideo")
    if works:
        assert done.returncode == 0, done.stderr
        folder = machine.weights("HunyuanVideo")
        assert weights.locate(str(folder), None, False) == [folder]
        assert not list(machine.weights("HunyuanVideo").rglob("*.msgpack"))
    else:
        assert_refused(done, 4, "no GPU", "expected the official script to prepare HunyuanVideo")


def test_videosys_takes_the_place_of_open_sora(machine):
    videosys, opensora = installations()["videosys"], installations()["opensora"]
    machine.give_packages("videosys")
    commit = commit_files(machine.root / "mirror", official_files(videosys))
    address = ("--repo-url", str(machine.root / "mirror"), "--commit", commit)
    assert machine.run("setup", "videosys", *address).returncode == 0
    assert git(machine.repository("opensora"), "rev-parse", "HEAD") == commit
    write_weights(machine.root / "hub", videosys.weights[0], downloads=True)
    assert machine.run("setup", "videosys", *address, "--weights", "Open-Sora-1.2").returncode == 0
    assert {path.name for path in machine.weights("").iterdir()} == {
        "OpenSora-STDiT-v3",
        "OpenSora-VAE-v1.2",
        "t5-v1_1-xxl",
        "pixart_sigma_sdxlvae_T5_diffusers",
    }
    machine.give_packages("opensora")
    assert_refused(machine.run("setup", "opensora"), 3, "found a folder without", opensora.official.files[0])
