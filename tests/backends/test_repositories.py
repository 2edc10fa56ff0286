"""Which checkout is taken, what is said about it, and how its package is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from backends.official.names import replaced
from backends.official.repositories import (
    Checkout,
    Official,
    choose_repository,
    describe_checkout,
    import_package,
    managed_path,
    read_commit,
    resolve_repository,
)
from navicache_cli.errors import BackendError

OFFICIAL = Official(
    "easel", "Easel", "https://example.org/easel", "easelpkg", ("easelpkg/model.py",), "c0ffee" * 6 + "abcd"
)


def checkout_at(folder, code="VALUE = 1\n", commit=True):
    package = folder / "easelpkg"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from .model import VALUE\n")
    (package / "model.py").write_text(code)
    if commit:
        git = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e@example.org"]
        subprocess.run([*git[:3], "init", "-q"], check=True)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    return folder


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """No checkout anywhere: an empty home, cache and current directory."""
    for name in [name for name in os.environ if name.startswith(("NAVICACHE_", "GIT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "easelpkg"]:
        del sys.modules[name]


def test_the_first_place_wins(tmp_path, monkeypatch):
    def found():
        checkout = resolve_repository(OFFICIAL, flag)
        assert len(checkout.commit) == 40
        return checkout.path, checkout.found_by

    flag = ""
    monkeypatch.syspath_prepend(str(checkout_at(tmp_path / "site")))
    assert found() == (tmp_path / "site", "importable package easelpkg")
    checkout_at(tmp_path / "work")
    assert found() == (tmp_path / "work", "current directory")
    checkout_at(managed_path("easel"))
    assert found() == (tmp_path / "cache/navicache/repos/easel", "managed checkout")
    monkeypatch.setenv("NAVICACHE_EASEL_REPO", str(checkout_at(tmp_path / "variable")))
    assert found() == (tmp_path / "variable", "environment NAVICACHE_EASEL_REPO")
    checkout_at(tmp_path / "flag")
    flag = "~/flag"
    assert found() == (tmp_path / "flag", "--repo")


def test_managed_place_without_xdg(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert managed_path("easel") == tmp_path / ".cache/navicache/repos/easel"


def test_nowhere():
    with pytest.raises(BackendError, match=r"--repo, NAVICACHE_EASEL_REPO, .*and found none") as caught:
        resolve_repository(OFFICIAL)
    assert "git clone https://example.org/easel" in caught.value.hint


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda folder: None, "found nothing"),
        (lambda folder: folder.write_text("x"), "found a file"),
        (lambda folder: folder.mkdir(), "found an empty directory"),
        (lambda folder: (folder / "other").mkdir(parents=True), "found a directory with other"),
    ],
)
@pytest.mark.parametrize("way", ["flag", "variable"])
def test_a_named_place_must_fit(tmp_path, monkeypatch, make, told, way):
    place = tmp_path / "named"
    make(place)
    checkout_at(tmp_path / "work", commit=False)
    if way == "variable":
        monkeypatch.setenv("NAVICACHE_EASEL_REPO", str(place))
    with pytest.raises(BackendError, match=f"with easelpkg/model.py; {told}") as caught:
        resolve_repository(OFFICIAL, str(place) if way == "flag" else "")
    assert ("NAVICACHE_EASEL_REPO" if way == "variable" else "--repo") in caught.value.hint


def test_a_broken_managed_checkout_is_said(tmp_path):
    managed_path("easel").mkdir(parents=True)
    checkout_at(tmp_path / "work", commit=False)
    with pytest.raises(BackendError, match="managed checkout") as caught:
        resolve_repository(OFFICIAL)
    assert "remove" in caught.value.hint


def test_commit_of_a_checkout_alone(tmp_path, monkeypatch):
    outer = checkout_at(tmp_path / "outer")
    commit = read_commit(outer)
    assert len(commit) == 40
    assert read_commit(outer / "easelpkg") == "unknown", "an export inside another checkout has no commit"
    assert read_commit(tmp_path / "work") == "unknown"
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert read_commit(outer) == commit
    monkeypatch.setenv("PATH", "")
    assert read_commit(outer) == "unknown", "no git"


def test_notes_name_the_tested_commit(tmp_path):
    notes = describe_checkout(OFFICIAL, Checkout(tmp_path / "a", "--repo", OFFICIAL.tested_commit))
    assert notes == ["Easel from ~/a (--repo), commit c0ffeec"]
    _, warning = describe_checkout(OFFICIAL, Checkout(tmp_path / "a", "--repo", "f" * 40))
    assert "commit fffffff of Easel is untested; tested: c0ffeec (git -C ~/a checkout c0ffeec)" in warning
    _, warning = describe_checkout(OFFICIAL, Checkout(tmp_path / "a", "--repo", "unknown"))
    assert "commit unknown of Easel is untested; tested: c0ffeec (no git checkout" in warning


def test_import_leaves_the_path_alone(tmp_path):
    checkout, before = (
        Checkout(checkout_at(tmp_path / "a", commit=False), "--repo", "unknown"),
        list(sys.path),
    )
    module = import_package(OFFICIAL, checkout)
    assert module.VALUE == 1
    assert import_package(OFFICIAL, checkout) is module
    assert sys.path == before
    other = Checkout(checkout_at(tmp_path / "b", commit=False), "--repo", "unknown")
    with pytest.raises(BackendError, match=r"found the one of .*a/easelpkg loaded already"):
        import_package(OFFICIAL, other)


def test_failed_imports_leave_nothing_loaded(tmp_path):
    missing = Checkout(
        checkout_at(tmp_path / "a", "import no_such_package\n", commit=False), "--repo", "unknown"
    )
    with pytest.raises(BackendError, match="No module named 'no_such_package'") as caught:
        import_package(OFFICIAL, missing)
    assert "navicache setup easel" in caught.value.hint
    changed = Checkout(checkout_at(tmp_path / "b", "from . import gone\n", commit=False), "--repo", "unknown")
    with pytest.raises(BackendError, match="gone") as caught:
        import_package(OFFICIAL, changed)
    assert "c0ffeec" in caught.value.hint
    assert not [name for name in sys.modules if name.partition(".")[0] == "easelpkg"]


def test_replaced_names_come_back():
    class Kind:
        shared = 1

    thing = Kind()
    thing.own = 2
    seen = []

    def fail():
        with replaced(thing, shared=10, own=20):
            seen.append((thing.shared, thing.own))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert seen == [(10, 20)]
    assert vars(thing) == {"own": 2}
    assert thing.shared == 1
    with (
        pytest.raises(BackendError, match="expected absent in Kind, found none"),
        replaced(thing, own=3, absent=1),
    ):
        pass
    assert thing.own == 2


def test_a_family_with_two_repositories(tmp_path, monkeypatch):
    other = Official("easel", "Frame", "https://example.org/f", "framepkg", ("framepkg/m.py",), "0" * 40)
    both = (OFFICIAL, other)
    (tmp_path / "frame" / "framepkg").mkdir(parents=True)
    (tmp_path / "frame" / "framepkg" / "m.py").touch()
    checkout_at(tmp_path / "work")
    assert choose_repository(both)[0] is OFFICIAL
    monkeypatch.setenv("NAVICACHE_EASEL_REPO", str(tmp_path / "frame"))
    found, checkout = choose_repository(both)
    assert (found, checkout.path) == (other, tmp_path / "frame")
    expected = r"Easel's repository .* with easelpkg/model.py, or Frame's with framepkg/m.py; found nothing"
    with pytest.raises(BackendError, match=expected):
        choose_repository(both, str(tmp_path / "absent"))


def test_parts_in_the_place_of_a_package_under_another_name(tmp_path):
    """A package whose `__init__` asks for too much, beside another one of its name."""
    checkout_at(tmp_path / "whole", "VALUE = 1\n", commit=False)
    place = checkout_at(tmp_path / "parts", "from .other import VALUE\n", commit=False)
    (place / "easelpkg/__init__.py").write_text("raise AssertionError('is not run')")
    (place / "easelpkg/other.py").write_text("VALUE = 2\n")
    parts = replace(OFFICIAL, imported_as="easel2", parts=("model",))
    whole = import_package(OFFICIAL, Checkout(tmp_path / "whole", "--repo", "unknown"))
    package = import_package(parts, Checkout(place, "--repo", "unknown"))
    try:
        assert (whole.VALUE, package.model.VALUE) == (1, 2)
        assert sys.modules["easelpkg"] is whole
        assert sys.modules["easel2.other"].VALUE == 2
        assert import_package(parts, Checkout(place, "--repo", "unknown")) is package
        (place / "easelpkg/other.py").unlink()
        with pytest.raises(BackendError, match=r"found the one of .*/parts/easelpkg loaded"):
            import_package(parts, Checkout(tmp_path / "whole", "--repo", "unknown"))
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "easel2"]:
            del sys.modules[name]


def test_a_relative_is_named(tmp_path, monkeypatch):
    official = replace(OFFICIAL, relatives=(("easelpkg/newer.py", "easel-2"),))
    (tmp_path / "other/easelpkg").mkdir(parents=True)
    (tmp_path / "other/easelpkg/newer.py").touch()
    with pytest.raises(BackendError, match=r"expected Easel's .*, found that of easel-2$") as caught:
        resolve_repository(official, str(tmp_path / "other"))
    assert caught.value.hint.startswith("--model easel-2; or git clone")
    monkeypatch.chdir(tmp_path / "other")
    with pytest.raises(BackendError, match="found none"):
        resolve_repository(official)


def test_a_variable_is_one_that_a_shell_can_set():
    assert replace(OFFICIAL, name="easel-2.2").variable == "NAVICACHE_EASEL22_REPO"
