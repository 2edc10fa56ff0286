"""`navicache setup` through the real program, with a local mirror and a stand-in for the hub."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import stat
import subprocess
import time
import zlib

import pytest

from backends.official.installation import DOWNLOADED, installations
from navicache_cli.errors import BackendError
from navicache_cli.setup.checkout import _check_out, _commits
from tests.machine import HEAD, Machine, commit_files, git, official_files, write_weights, write_whole
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
    assert_refused(ready(commit="1234567"), 3, "hash is or begins with 1234567, found none there")
    assert git(place, "rev-parse", "HEAD") == newer


def write_commit(folder, tree, number):
    """Write a commit object as git does, without starting a process for each."""
    text = f"tree {tree}\nauthor n <e> {number} +0000\ncommitter n <e> {number} +0000\n\nchange\n".encode()
    data = b"commit %d\0" % len(text) + text
    name = hashlib.sha1(data).hexdigest()
    path = folder / ".git/objects" / name[:2] / name[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(zlib.compress(data))
    return name


@pytest.mark.parametrize(
    ("digits", "what", "there"),
    [
        (7, "tag", False),
        (7, "tag", True),
        (12, "annotated tag", True),
        (40, "tag", False),
        (7, "default branch", False),
        (40, "default branch", False),
    ],
)
def test_names_like_hashes_are_no_hashes(machine, ready, mirror, digits, what, there):
    """A mirror that has another commit under a name that looks like the hash of the one asked for."""
    folder, asked, other = machine.root / "mirror", mirror[1], mirror[2]
    name = asked[:digits]
    if there:  # Then the name comes with what is fetched for a commit that the clone does not have.
        assert ready(commit=other).returncode == 0
        asked = commit_files(folder, official_files(WAN, "first"))
        name = asked[:digits]
    if what == "annotated tag":
        git(folder, "tag", "-a", "-m", "tag", "made", other)
        git(folder, "update-ref", f"refs/tags/{name}", git(folder, "rev-parse", "made"))
    else:  # What `git tag` and `git branch` would refuse, a server may have.
        git(folder, "update-ref", f"refs/{'tags' if what == 'tag' else 'heads'}/{name}", other)
    if what == "default branch":
        git(folder, "symbolic-ref", "HEAD", f"refs/heads/{name}")
    done = ready(commit=name)
    assert done.returncode == 0, done.stderr
    assert git(machine.repository("wan"), "rev-parse", "HEAD") == asked
    assert (machine.repository("wan") / WAN.official.files[0]).read_text() == "first"


def test_a_name_alone_is_no_commit(machine, ready, mirror):
    for name in ("abcdef1", "abcdef12" * 5):
        git(machine.root / "mirror", "update-ref", f"refs/tags/{name}", mirror[1])
        assert_refused(ready(commit=name), 3, f"begins with {name}, found none there")
    git(machine.root / "mirror", "tag", "-a", "-m", "tag", "made", mirror[1])
    tag = git(machine.root / "mirror", "rev-parse", "made")
    assert_refused(ready(commit=tag), 3, "expected a commit", "found none there")
    assert not machine.repository("wan").exists()


def test_a_commit_on_no_branch(machine, ready, mirror):
    folder = machine.root / "mirror"
    git(folder, "reset", "-q", "--hard", mirror[1])
    git(folder, "config", "uploadpack.allowAnySHA1InWant", "true")
    address = f"file://{folder}"  # By the protocol, not by copying the folder.
    assert_refused(ready(commit=mirror[2][:9], url=address), 3, "found none there")
    assert ready(commit=mirror[2], url=address).returncode == 0
    assert git(machine.repository("wan"), "rev-parse", "HEAD") == mirror[2]


def test_several_commits_that_begin_alike(machine, ready, mirror):
    """Of 1500 commits some two begin with the same four digits, the fewest that git looks up."""
    folder, tree = machine.root / "mirror", git(machine.root / "mirror", "rev-parse", "HEAD^{tree}")
    commits = {}
    for number in range(1500):
        commit = write_commit(folder, tree, number)
        if (other := commits.setdefault(commit[:4], commit)) != commit:
            break
    found = _commits(folder, commit[:4])
    assert set(found) == {commit, other}
    place = machine.repository("wan")
    with pytest.raises(BackendError, match="expected one commit whose hash begins with") as caught:
        _check_out(WAN.official, folder, "", commit[:4], f"cannot bring {place} there")
    assert caught.value.hint == f"--commit {found[0]}"


def test_hashes_in_capitals(machine, ready, mirror):
    assert ready(commit=mirror[1].upper()).returncode == 0
    assert git(machine.repository("wan"), "rev-parse", "HEAD") == mirror[1]
    again = ready(commit=mirror[1][:10].upper())
    assert "nothing was changed" in again.stdout


def test_a_tag_that_moved(machine, ready, mirror):
    git(machine.root / "mirror", "tag", "v1", mirror[1])
    assert ready().returncode == 0
    git(machine.root / "mirror", "tag", "-f", "v1", mirror[2])
    newer = commit_files(machine.root / "mirror", {"new.txt": "new"})
    done = ready(commit=newer)
    assert done.returncode == 0, done.stderr


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
        ({"commit": "1234567"}, "hash is or begins with 1234567, found none there"),
        ({"commit": "12345678" * 5}, "found none there"),
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


def test_a_checkout_does_not_move_to_another_repository(machine, ready, mirror, tmp_path):
    """Such as a later version of the same makers, which is another model."""
    ready()
    commit = commit_files(tmp_path / "other", {"README.md": "other"})
    done = ready(url=str(tmp_path / "other"), commit=commit)
    assert_refused(done, 3, "expected Wan2.1 with wan/modules/model.py", "nothing was changed", "--commit")
    place = machine.repository("wan")
    assert git(place, "rev-parse", "HEAD") == mirror[1]
    assert ready().returncode == 0


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
        (("setup", "wan", "--commit", "9737cb"), "--commit expects a hash"),
        (("setup", "wan", "--commit", "9737cba^"), "--commit expects a hash"),
        (("setup", "wan", "--revision", HEAD), "--revision expects --weights"),
        (("setup", "wan", "--weights", SMALL, "--revision", "main"), "--revision expects all 40"),
        (("setup", "wan", "--weights", SMALL, "--revision", HEAD[:12]), "--revision expects all 40"),
        (("setup", "wan", "--weights", SMALL, "--revision", f"x/y={HEAD}"), "unknown repository"),
        (("setup", "hunyuan", "--weights", "HunyuanVideo", "--revision", HEAD), "tencent/HunyuanVideo"),
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
    for package in WAN.packages:  # All of them: what pip is not told of it may break.
        assert f" {package.requirement}" in planned or f" '{package.requirement}'" in planned
    assert " torch==" in planned, "pip may not change torch"
    (machine.root / "site/pip.py").write_text(
        "import pathlib, sys\n"
        f"folder = pathlib.Path(__file__).with_name('{name}-9.dist-info')\n"
        "folder.mkdir()\n"
        f"(folder / 'METADATA').write_text('Metadata-Version: 2.1\\nName: {name}\\nVersion: 9.0\\n')\n"
        "print('installed', sys.argv[1:])\n"
    )
    done = ready()
    assert done.returncode == 0, done.stderr
    assert "installed ['install'," in done.stderr
    assert "installed ['install'," not in done.stdout
    assert "nothing was changed" in ready().stdout


def test_packages_that_pip_breaks(machine, ready):
    """It says so, and ends with 0."""
    machine.give_package("diffusers", "0.42.1", "huggingface-hub>=1.2")
    machine.give_package("huggingface-hub", "0.36.0")
    (machine.root / "site/pip.py").write_text("print('ERROR: pip does not take into account')")
    done = ready()
    told = "that do not fit together: diffusers 0.42.1 needs huggingface-hub>=1.2 (0.36.0 found)"
    assert_refused(done, 3, told, "navicache setup wan --venv")


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
    ((repository, place, _, revision),) = machine.calls()
    assert (repository, place, revision) == (f"Wan-AI/{SMALL}", str(folder), HEAD)
    assert f"Wan-AI/{SMALL} at revision {HEAD}" in done.stderr
    before = snapshot(machine.root / "cache")
    again = ready("--weights", SMALL)
    assert again.returncode == 0
    assert "nothing was changed" in again.stdout
    assert f"Wan-AI/{SMALL} at revision {HEAD[:7]}" in again.stdout
    assert len(machine.calls()) == 1
    assert snapshot(machine.root / "cache") == before


def test_a_download_goes_on_where_it_stopped(machine, ready, hub):
    done = ready("--weights", SMALL, HUB_LIMIT="2")
    assert_refused(done, 4, "stopped: the network went away", f"navicache setup wan --weights {SMALL}")
    assert ready("--weights", SMALL).returncode == 0
    (_, _, first, _), (_, _, second, _) = machine.calls()
    assert len(first) == 2
    assert second
    assert not set(first) & set(second)


def older(machine, name, digit="a"):
    """Make what the hub holds the files of an older commit too, and return that commit."""
    source = machine.root / "hub" / name
    shutil.copytree(source, source.with_name(f"{source.name}@{digit * 40}"))
    return digit * 40


def test_a_download_goes_on_with_the_same_files(machine, ready, hub):
    """The repository gets another commit between two runs."""
    first = older(machine, f"Wan-AI/{SMALL}")
    assert ready("--weights", SMALL, HUB_LIMIT="2", HUB_HEAD=first).returncode == 4
    (machine.root / "hub/Wan-AI" / SMALL / "Wan2.1_VAE.pth").unlink()
    planned = ready("--weights", SMALL, "--dry-run").stdout.splitlines()[-1]
    assert planned == (f"hf download Wan-AI/{SMALL} --revision {first} --local-dir {machine.weights(SMALL)}")
    assert ready("--weights", SMALL).returncode == 0
    assert [call[3] for call in machine.calls()] == [first, first]


def test_a_revision_that_is_asked_for(machine, ready, hub):
    wanted = older(machine, f"Wan-AI/{SMALL}")
    assert ready("--weights", SMALL).returncode == 0
    for _ in range(2):  # The second time there is nothing to do.
        assert ready("--weights", SMALL, "--revision", wanted.upper()).returncode == 0
    assert ready("--weights", SMALL).returncode == 0, "what is there stays"
    assert [call[3] for call in machine.calls()] == [HEAD, wanted]
    other = older(machine, f"Wan-AI/{SMALL}", "b")
    (machine.weights(SMALL) / "Wan2.1_VAE.pth").unlink()
    asked = ("--weights", SMALL, "--revision", f"Wan-AI/{SMALL}={other}")
    assert ready(*asked, HUB_LIMIT="0").returncode == 4
    write_whole(machine.weights(SMALL) / "Wan2.1_VAE.pth")
    assert ready("--weights", SMALL).returncode == 0, "it looks complete, but is of two commits"
    assert machine.calls()[-1][3] == other


def test_weights_of_nobody_knows_which_revision(machine, ready, hub):
    """They were there before revisions were noted: nothing is done, unless one is asked for."""
    write_weights(machine.weights(SMALL), hub)
    assert f"18 GB: complete at {machine.weights(SMALL)}\n" in ready("--weights", SMALL).stdout
    assert machine.calls() == []
    assert ready("--weights", SMALL, "--revision", HEAD).returncode == 0
    assert machine.calls()[0][3] == HEAD
    (machine.weights(SMALL) / DOWNLOADED).write_text('{"repository": "x", "revision": "main"}')
    assert ready("--weights", SMALL).returncode == 0


@pytest.mark.parametrize("head", [None, "main", "None"])
def test_a_hub_that_does_not_say_which_commit(machine, ready, hub, head):
    del machine.environment["HUB_HEAD"]
    said = {"HUB_HEAD": head} if head else {}
    done = ready("--weights", SMALL, **said)
    assert_refused(done, 4, "expected the hash" if head else "the hub does not answer", "setup wan")
    assert machine.calls() == []


def test_a_revision_that_is_not_there(machine, ready, hub):
    assert_refused(ready("--weights", SMALL, "--revision", "c" * 40), 4, f"404: no revision {'c' * 40}")


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
