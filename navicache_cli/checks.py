"""What `navicache doctor` looks at: each check says what was found and what would mend it."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import BackendError, WeightsError

if TYPE_CHECKING:
    from backends.installation import Installation, Memory
    from backends.repositories import Checkout

OK, WARNING, MISSING = "ok", "warning", "missing"


@dataclass(frozen=True)
class Check:
    """One row.

    Attributes:
        name: what was looked at.
        state: "ok", "warning" (generate starts, but read this) or "missing" (generate would not start).
        found: what was found.
        mend: what to type, or "".
        exit_code: of the error that generate would end with, 0 unless missing.
    """

    name: str
    state: str
    found: str
    mend: str = ""
    exit_code: int = 0


def missing(
    name: str, found: str, mend: str, kind: type[BackendError | WeightsError] = BackendError
) -> Check:
    """A check that failed so that `generate` would end with an error of that kind."""
    return Check(name, MISSING, found, mend, kind.exit_code)


def python_check() -> Check:
    """The running Python; navicache would not have started on one too old."""
    return Check("Python", OK, f"{platform.python_version()} at {sys.executable}")


def torch_check() -> Check:
    """Version and build of torch."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library of its own is missing.
        cause = (str(error).splitlines() or ["no reason given"])[0]
        return missing("torch", f"cannot be imported: {cause[:160]}", "pip install torch")
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    return Check("torch", OK, f"{torch.__version__} ({build})")


def gpu_check(needed: bool) -> Check:
    """The GPU that would be used; `needed` says whether the model runs without one."""
    import torch

    if torch.cuda.is_available():
        found = torch.cuda.get_device_properties(torch.cuda.current_device())
        count = torch.cuda.device_count()
        more = f", the first of {count}" if count > 1 else ""
        return Check("GPU", OK, f"{found.name}, {found.total_memory / 2**30:.1f} GiB{more}")
    if not needed:
        return Check("GPU", OK, "none; the CPU is used")
    cpu_build = torch.version.cuda is None
    mend = (
        "with an NVIDIA GPU: pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu126"
        if cpu_build
        else "nvidia-smi, to see whether the driver works"
    )
    return missing("GPU", "none that torch can use" + (" (it is a CPU build)" if cpu_build else ""), mend)


def memory_check(need: Memory | None, offload: bool) -> Check:
    """The GPU's memory against what the makers measured for the task; `offload` says if that is an option."""
    import torch

    if need is None:
        return Check("GPU memory", OK, "no official figure for this task")
    told = f"{need.gigabytes:g} GiB needed ({need.source})"
    if not torch.cuda.is_available():
        return Check("GPU memory", WARNING, f"no GPU; {told}")
    total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory / 2**30
    if total >= need.gigabytes:
        return Check("GPU memory", OK, f"{total:.1f} GiB; {told}")
    return Check(
        "GPU memory",
        WARNING,
        f"{total:.1f} GiB; {told}",
        "a smaller --size, fewer --frames" + (", or --offload" if offload else ""),
    )


def flash_attention_check() -> Check:
    """Optional: PyTorch's attention takes its place; but one made for another torch breaks official code."""
    if find_spec("flash_attn") is None:
        return Check("flash-attn", OK, "not installed; PyTorch's attention takes its place")
    command = [sys.executable, "-c", "import flash_attn"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        cause = (done.stderr.strip().splitlines() or ["no reason given"])[-1] if done.returncode else ""
    except (OSError, subprocess.SubprocessError) as error:
        cause = str(error).splitlines()[0]
    if cause:
        mend = "pip uninstall flash-attn, or install one made for this torch"
        return missing("flash-attn", f"cannot be imported: {cause[:160]}", mend)
    return Check("flash-attn", OK, "installed")


def ffmpeg_check() -> Check:
    """The ffmpeg that writes the videos, run once."""
    mend = "pip install --force-reinstall imageio-ffmpeg"
    try:
        import imageio_ffmpeg

        program = imageio_ffmpeg.get_ffmpeg_exe()
        done = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=20, check=True)
    except (ImportError, RuntimeError, OSError, subprocess.SubprocessError) as error:
        return missing("ffmpeg", f"does not run: {(str(error).splitlines() or [''])[0][:160]}", mend)
    return Check("ffmpeg", OK, " ".join(done.stdout.split()[:3]))


def package_check(family: str, installation: Installation) -> Check:
    """The Python packages of a family, by their metadata; none is imported."""
    wrong = [
        f"{package.requirement} ({found} found)" if (found := package.found()) else package.requirement
        for package in installation.packages
        if not package.fits()
    ]
    if wrong:
        return missing("packages", f"missing: {', '.join(wrong)}", f"navicache setup {family}")
    return Check("packages", OK, f"all {len(installation.packages)} are installed")


def repository_checks(
    family: str, installation: Installation, checkout: Checkout | None, problem: str
) -> list[Check]:
    """The official code and its commit; `problem` says why there is no checkout."""
    if checkout is None:
        return [missing("repository", problem, f"navicache setup {family}")]
    tested = installation.official.tested_commit
    rows = [
        Check("repository", OK, f"{installation.official.title} at {checkout.path} ({checkout.found_by})")
    ]
    if checkout.commit == tested:
        return [*rows, Check("commit", OK, f"{tested[:7]}, the tested one")]
    managed = checkout.path == installation.place.resolve()
    mend = f"navicache setup {family}" if managed else f"git -C {checkout.path} checkout {tested[:7]}"
    return [*rows, Check("commit", WARNING, f"{checkout.commit[:7]}; tested: {tested[:7]}", mend)]


def weights_checks(
    family: str, installation: Installation, given: str, name: str, checkout: Checkout | None
) -> list[Check]:
    """The weights a task needs, and the room for those that are missing.

    Args:
        family: as `navicache setup` calls it.
        installation: of the family.
        given: the value of `--weights`, or "".
        name: of the weights.
        checkout: the official code, or None.
    """
    from .steps.weights import download_command, free_gigabytes, gigabytes_to_come, prepare_command

    weights = installation.weights_called(name)
    assert weights is not None, "weights_name names one of the weights"
    folder = installation.weights_folder(given, weights, checkout)
    wrong = weights.faults(folder) if folder else []
    if folder and not wrong:
        return [Check("weights", OK, f"{name}, complete at {folder}")]
    mend = f"navicache setup {family} --weights {name}"
    place = folder or weights.place
    if place != weights.place:
        commands = [download_command(one, place) for one in weights.downloads]
        if weights.prepare and checkout:
            commands.append(prepare_command(checkout.path, weights, place))
        mend = " && ".join(shlex.join(command) for command in commands)
    found = f"{name} at {place} is incomplete: {'; '.join(wrong)}" if folder else f"no {name}"
    if given and not folder:
        found = f"nothing at {Path(given).expanduser()} (NAVICACHE_WEIGHTS)"
        mend = f"unset NAVICACHE_WEIGHTS, then: {mend}"
    free, needed = free_gigabytes(place), gigabytes_to_come(place, weights)
    room = f"{free:.0f} GB free at {place}, {needed:.0f} GB needed"
    return [
        missing("weights", found, mend, WeightsError),
        Check("disk space", OK, room)
        if free >= needed
        else Check(
            "disk space", WARNING, room, "make room, or set XDG_CACHE_HOME to a folder on another disk"
        ),
    ]
