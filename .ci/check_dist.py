"""Check that a wheel and an sdist hold the files that git knows, no more and no fewer.

python .ci/check_dist.py FOLDER: a folder with one of each, built from this checkout.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("navicache/", "navicache_cli/", "backends/", "presets/")
# What the program does not work without, and no import would miss.
DATA = ("presets/*.yaml", "navicache_cli/report/schemas/*.json", "backends/tiny/weights/*", "*/page/*")
# What a build adds.
WHEEL_METADATA = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
SDIST_METADATA = {"PKG-INFO"}


def only(found: Iterable[Path], what: str) -> Path:
    """Return the one file there is."""
    paths = list(found)
    if len(paths) != 1:
        raise SystemExit(f"expected one {what}, found {len(paths)}")
    return paths[0]


def tracked() -> set[str]:
    """The files that git knows and that are there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}


def in_wheel(wheel: Path) -> tuple[set[str], set[str]]:
    """The files of a wheel, and those of its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    metadata = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    return names - metadata, {name.split("/", 1)[1] for name in metadata}


def in_sdist(sdist: Path) -> set[str]:
    """The files of an sdist, without the folder that all of them are in."""
    with tarfile.open(sdist) as archive:
        return {member.name.split("/", 1)[1] for member in archive if not member.isdir()}


def differences(what: str, found: set[str], expected: set[str]) -> list[str]:
    """Say which files are missing and which should not be there."""
    return [
        *(f"{what}: missing {name}" for name in sorted(expected - found)),
        *(f"{what}: unexpected {name}" for name in sorted(found - expected)),
    ]


def problems(folder: Path, known: set[str]) -> list[str]:
    """Compare the wheel and the sdist in a folder with the files of a checkout."""
    files, metadata = in_wheel(only(folder.glob("*.whl"), "wheel"))
    packaged = {name for name in known if name.startswith(PACKAGES)}
    without = [pattern for pattern in DATA if not any(Path(name).match(pattern) for name in files)]
    return [
        *differences("wheel", files, packaged),
        *differences("metadata of the wheel", metadata, WHEEL_METADATA),
        *(f"wheel: nothing like {pattern}" for pattern in without),
        *differences("sdist", in_sdist(only(folder.glob("*.tar.gz"), "sdist")), {*known, *SDIST_METADATA}),
    ]


if __name__ == "__main__":
    found = problems(Path(sys.argv[1]), tracked())
    if found:
        raise SystemExit("\n".join(found))
    print("the wheel and the sdist hold what they should")
