"""The Open-Sora 1.2 model family: what can be said before the official code is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.official.official import find_device, noise_notes
from backends.official.repositories import choose_repository, describe_checkout, missing_repository
from backends.opensora.facts import MICRO_FRAMES, OPENSORA, REPOSITORIES
from navicache_cli.errors import UsageError

if TYPE_CHECKING:
    import torch

    from backends.opensora.pipeline import OpenSoraPipeline
    from navicache_cli.plan.plan import Plan

SEED_LIMIT = 2**32  # of NumPy's generator, which VideoSys seeds too


class OpenSoraBackend:
    """Open-Sora 1.2, text to video."""

    name = "opensora"

    def problem(self) -> str:
        return missing_repository(REPOSITORIES)

    def check(self, plan: Plan) -> list[str]:
        """See `Backend.check`; the notes say which official code was taken.

        Raises:
            BackendError: no official repository, or no GPU.
            UsageError: see `check_plan`.
        """
        check_plan(plan)
        official, checkout = choose_repository(REPOSITORIES, plan.repo)
        choose_device(plan)
        noise = noise_notes(plan.weights, OPENSORA.title, "text encoder and VAE")
        return [*noise, *describe_checkout(official, checkout)]

    def load(self, plan: Plan) -> OpenSoraPipeline:
        from backends.opensora.loading import load_pipeline

        return load_pipeline(plan, choose_device(plan))


def check_plan(plan: Plan) -> None:
    """Check what the preset cannot say.

    Raises:
        UsageError: an option that the official samplers do not have or cannot carry out.
    """

    def expect(fine: bool, option: str, expected: str, hint: str) -> None:
        if not fine:
            found, source = str(getattr(plan, option))[:60], plan.provenance[option]
            name = option.replace("_", "-")
            raise UsageError(f"{name} expects {expected} for opensora, found {found!r} ({source})", hint)

    # Its schedule depends on frames // 17 and divides zero by zero at 2 to 16: rf/rectified_flow.py.
    fine = plan.frames == 1 or plan.frames >= MICRO_FRAMES
    expect(fine, "frames", f"1 or at least {MICRO_FRAMES}", f"--frames {MICRO_FRAMES}, or --frames 2s")
    expect(0 <= plan.seed < SEED_LIMIT, "seed", "0 to 4294967295", "--seed 0")
    expect(plan.shift == 1, "shift", "1, as the sampler sets it by size and length,", "drop --shift")
    negative = "nothing, as the model has learnt its own,"
    expect(not plan.negative_prompt, "negative_prompt", negative, "drop --negative-prompt")
    # The official code would read files named in {...}, and make several clips of |0| ... |1| ...
    plain = "{" not in plan.prompt and not plan.prompt.startswith("|0|")
    expect(
        plain, "prompt", "plain text without { and without |0| at its start,", "describe one clip in words"
    )


def choose_device(plan: Plan) -> torch.device:
    """See `find_device`."""
    return find_device(OPENSORA.title, plan.weights, "--size 144p --frames 17")
