"""The Python packages that inference imports, into the running Python."""

from __future__ import annotations

import importlib
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from navicache_cli.errors import BackendError
from navicache_cli.processes import run_program
from navicache_cli.setup import Step

if TYPE_CHECKING:
    from backends.official.installation import Installation

HUB = "huggingface_hub"
HUB_REQUIREMENT = f"{HUB}>=0.34"  # since then its program is called hf


def packages_step(family: str, installation: Installation, with_weights: bool) -> Step:
    """Install what is missing or does not fit, and the hub's client where weights are asked for.

    pip is given all that the family requires, not only what is missing: it then finds versions that fit each
    other, or says that there are none.
    """
    from backends.official.installation import Package, conflicts

    packages = [*installation.packages, *([Package(HUB_REQUIREMENT)] if with_weights else [])]
    requirements = [package.requirement for package in packages]
    fine = all(package.fits() for package in packages) and not conflicts(packages)
    command = [sys.executable, "-m", "pip", "install", *keep_torch(requirements), *requirements]

    def run() -> None:
        if find_spec("pip") is None:
            raise BackendError(
                f"expected pip in this Python ({sys.executable}), found none",
                shlex.join([sys.executable, "-m", "ensurepip"]),
            )
        # Only results go to standard output, and pip's talk is none.
        code = run_program(command, stdout=sys.stderr.fileno()).returncode
        apart = f"an environment of its own: navicache setup {family} --venv"
        if code:
            wanted = [package.requirement for package in packages if not package.fits()]
            wanted = wanted or conflicts(packages)
            raise BackendError(
                f"pip could not install {', '.join(wanted)} (exit status {code}; its own words are above)",
                f"check the network; {apart}; or by hand: {shlex.join(command)}",
            )
        importlib.invalidate_caches()
        wrong = [f"no {package.requirement}" for package in packages if not package.fits()]
        if wrong := wrong + conflicts(packages):
            raise BackendError(f"pip left packages that do not fit together: {'; '.join(wrong)}", apart)

    title = f"Python packages of {installation.official.title}"
    return Step(title, f"all {len(packages)} are installed" if fine else "", [command], run)


def keep_torch(requirements: list[str]) -> list[str]:
    """Arguments that make pip keep the torch that is there, whatever the other packages would like.

    A build such as 2.6.0+cu126 has a torchvision of its own, which only PyTorch's index holds.
    """
    try:
        found = version("torch")
    except PackageNotFoundError:
        return []
    build = found.partition("+")[2]
    if not build or "torchvision" not in requirements:
        return [f"torch=={found}"]
    return ["--extra-index-url", f"https://download.pytorch.org/whl/{build}", f"torch=={found}"]
