"""What `navicache doctor` looks at: each check says what was found and how to fix it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from backends.official.environments import STARTED_BY
from backends.official.installation import conflicts
from navicache_cli import __version__
from navicache_cli.errors import BackendError, UsageError, WeightsError, one_line
from navicache_cli.plan.presets import load_presets, preset_folder
from navicache_cli.plan.schedules import SHIPPED, shipped_name
from navicache_cli.report.schedules import read_schedules

if TYPE_CHECKING:
    from backends.official.installation import Installation, Memory, Weights
    from backends.official.repositories import Checkout
    from navicache_cli.plan.plan import Plan

OK, WARNING, MISSING = "ok", "warning", "missing"


@dataclass(frozen=True)
class Check:
    """One row.

    Attributes:
        name: what was looked at.
        state: "ok", "warning" (generate starts, but read this) or "missing" (generate would not start).
        found: what was found.
        hint: what to type, or "".
        exit_code: of the error that generate would end with, 0 unless missing.
    """

    name: str
    state: str
    found: str
    hint: str = ""
    exit_code: int = 0


def missing(
    name: str, found: str, hint: str, kind: type[BackendError | WeightsError] = BackendError
) -> Check:
    """A check that failed so that `generate` would end with an error of that kind."""
    return Check(name, MISSING, found, hint, kind.exit_code)


def python_check() -> Check:
    """The running Python; navicache would not have started on one too old."""
    return Check("Python", OK, f"{platform.python_version()} at {sys.executable}")


def torch_check() -> Check:
    """Version and build of torch."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library of its own is missing.
        return missing("torch", f"cannot be imported: {one_line(error, 160)}", "pip install torch")
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
    hint = (
        "with an NVIDIA GPU: pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu126"
        if cpu_build
        else "nvidia-smi, to see whether the driver works"
    )
    return missing("GPU", "none that torch can use" + (" (it is a CPU build)" if cpu_build else ""), hint)


def memory_check(need: Memory | None, offload: bool, plan: Plan | None) -> Check:
    """The GPU's memory against the estimate of a plan, else against what the makers measured for the task.

    Args:
        need: the makers' figure, told in any case.
        offload: whether that is an option, and not the default.
        plan: what `generate` would make, or None where that is not known.
    """
    from navicache_cli.plan.memory import RESERVE, about_memory, estimate, less_cache
    from navicache_cli.report.peak_memory import gpu_gigabytes

    found = estimate(plan) if plan else None
    if need is None and found is None:
        return Check("GPU memory", OK, "no figure for this task")
    makers = f"{need.gigabytes:g} GiB needed ({need.source})" if need else ""
    told, least, hint = makers, need.gigabytes if need else 0.0, "a smaller --size, fewer --frames"
    if plan and found:
        told = about_memory(plan) + (f"; the makers say {makers}" if makers else "")
        least = found.peak + RESERVE
        hint = less_cache(plan) or f"navicache memory --model {plan.model} --task {plan.task}"
    elif offload:
        hint += ", or --offload"
    total = gpu_gigabytes()
    if total is None:
        return Check("GPU memory", WARNING, f"no GPU; {told}")
    if total >= least:
        return Check("GPU memory", OK, f"{total:.1f} GiB; {told}")
    return Check("GPU memory", WARNING, f"{total:.1f} GiB; {told}", hint)


def flash_attention_check() -> Check:
    """Optional: PyTorch's attention takes its place; but one made for another torch breaks official code."""
    if find_spec("flash_attn") is None:
        return Check("flash-attn", OK, "not installed; PyTorch's attention takes its place")
    command = [sys.executable, "-c", "import flash_attn"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        cause = (done.stderr.strip().splitlines() or ["no reason given"])[-1] if done.returncode else ""
    except (OSError, subprocess.SubprocessError) as error:
        cause = one_line(error)
    if cause:
        hint = "pip uninstall flash-attn, or install one made for this torch"
        return missing("flash-attn", f"cannot be imported: {cause[:160]}", hint)
    return Check("flash-attn", OK, "installed")


def ffmpeg_check() -> Check:
    """The ffmpeg that writes the videos, run once."""
    hint = "pip install --force-reinstall imageio-ffmpeg"
    try:
        import imageio_ffmpeg

        program = imageio_ffmpeg.get_ffmpeg_exe()
        done = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=20, check=True)
    except (ImportError, RuntimeError, OSError, subprocess.SubprocessError) as error:
        return missing("ffmpeg", f"does not run: {one_line(error, 160)}", hint)
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
    if odd := conflicts(installation.packages):
        # Whether generate starts all the same shows where the official code is imported.
        told = f"do not fit together: {'; '.join(odd)}"
        return Check("packages", WARNING, told, f"navicache setup {family}")
    return Check("packages", OK, f"all {len(installation.packages)} are installed and fit together")


def import_check(family: str, checkout: Checkout) -> Check:
    """The official code, imported in a process of its own as `generate` does; its packages are there."""
    command = [sys.executable, "-m", "backends.official.import_check", family, str(checkout.path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return missing("import", f"cannot be tried: {one_line(error, 160)}", "free some memory")
    if not done.returncode:
        return Check("import", OK, "the official code can be imported")
    again = f"navicache setup {family} --venv"
    told = done.stdout.strip().splitlines()[-2:]
    if len(told) < 2:  # It was ended.
        return missing("import", f"{(done.stderr.strip().splitlines() or ['it ended'])[-1][:300]}", again)
    cause, hint = told
    # All that `navicache setup` would install is there: another try of it would change nothing.
    return missing(
        "torchvision" if "torchvision" in cause else "import", cause, hint if "pip install" in hint else again
    )


def checks_elsewhere(program: Path, model: str) -> list[Check]:
    """What doctor says of a model in the environment whose navicache this is; without exit codes."""
    command = [str(program), "doctor", "--model", model, "--json"]
    environment = {**os.environ, STARTED_BY: __version__}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        rows = json.loads(done.stdout)["checks"]
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        hint = f"navicache setup {model} --venv"
        return [missing("environment", f"{program} does not run: {one_line(error, 160)}", hint)]
    return [Check(row["name"], row["state"], row["found"], row["fix"]) for row in rows]


def repository_checks(
    family: str, installation: Installation, checkout: Checkout | None, problem: str
) -> list[Check]:
    """The official code and its commit; `problem` says why there is no checkout."""
    from backends.official.repositories import UNKNOWN

    if checkout is None:
        return [missing("repository", problem, f"navicache setup {family}")]
    tested = installation.official.tested_commit
    rows = [
        Check("repository", OK, f"{installation.official.title} at {checkout.path} ({checkout.found_by})")
    ]
    if checkout.commit == tested:
        return [*rows, Check("commit", OK, f"{tested[:7]}, the tested one")]
    # What is no git checkout, or one that git will not read, cannot be moved to another commit.
    by_hand = checkout.path != installation.place.resolve() and checkout.commit != UNKNOWN
    hint = f"git -C {checkout.path} checkout {tested[:7]}" if by_hand else f"navicache setup {family}"
    return [*rows, Check("commit", WARNING, f"{checkout.commit[:7]}; tested: {tested[:7]}", hint)]


def weights_checks(
    family: str, weights: Weights, given: str, checkout: Checkout | None, fp8: bool
) -> list[Check]:
    """The weights a task needs, as `generate` finds and checks them, and the room for a download.

    Args:
        family: what `navicache setup` calls it.
        weights: which.
        given: the value of `--weights`, or "".
        checkout: the official code, or None.
        fp8: whether the fp8 files are wanted.
    """
    try:
        folders = weights.locate(given, checkout, fp8)
    except WeightsError as error:
        row = missing("weights", error.message, error.hint, WeightsError)
        # A command that downloads to another place does not say how much is there already.
        return [row, _room(weights)] if "navicache setup" in error.hint else [row]
    except (ImportError, OSError) as error:  # Without torch, or permission to read them.
        told = f"cannot be looked at: {one_line(error, 160)}"
        return [missing("weights", told, "fix this first", WeightsError)]
    noted = weights.downloaded(folders)
    told = "".join(f"; {one.repository} at revision {one.revision[:7]}" for one in noted)
    found = f"{weights.name}, complete at {', '.join(map(str, folders))}{told}"
    if all(one.finished for one in noted):
        return [Check("weights", OK, found)]
    return [
        Check(
            "weights",
            WARNING,
            f"{found}, whose download was not finished",
            f"navicache setup {family} --weights {weights.name}",
        )
    ]


def _room(weights: Weights) -> Check:
    """Whether the disk holds what `navicache setup` would still download."""
    from navicache_cli.setup.weights import free_gigabytes, gigabytes_to_come

    free, needed = free_gigabytes(weights.place), gigabytes_to_come(weights.place, weights)
    room = f"{free:.0f} GB free at {weights.place}, {needed:.0f} GB needed"
    if free >= needed:
        return Check("disk space", OK, room)
    return Check("disk space", WARNING, room, "make room, or set XDG_CACHE_HOME to a folder on another disk")


def schedules_checks(model: str, task: str) -> list[Check]:
    """A row for the schedules that come with a model; none where none do."""
    if model not in load_presets():
        return []
    path = preset_folder(model) / shipped_name(model, task)
    if not path.is_file():
        return []
    try:
        found = read_schedules(path)
    except UsageError as error:
        return [Check("schedules", WARNING, error.message, error.hint)]
    held = ", ".join(f"{one.speedup:g}x" for one in found.schedules)
    return [Check("schedules", OK, f"{held} at {found.steps} steps: --schedule {SHIPPED} --speedup 2")]
