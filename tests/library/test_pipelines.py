"""What must hold on every diffusers pipeline: `import navicache` against the toys.

Where all would take too long for every day, a test runs on those that differ most, and on the others with
`pytest -m slow`.
"""

import math
from contextlib import nullcontext
from typing import Any

import pytest
import torch

import navicache
from tests.library.leftovers import living_bytes, state_of
from tests.library.pipelines.calls import CALLS, guider_off
from tests.library.pipelines.each import each
from tests.library.pipelines.toy import Count, Toy, run

# Plain; two experts; a condition in the channels; a guider; two outputs; several loops; copied schedulers;
# learnt sigma; guidance in one batch; a part of the steps.
MOST_DIFFERENT = {
    "wan", "wan22", "wan_i2v", "hunyuan_video1_5", "ltx2", "helios", "skyreels_v2_df", "latte", "sd3",
    "cogvideox_v2v",
}  # fmt: skip


def counted(toy: Toy, pipe: Any, **changes: Any) -> tuple[torch.Tensor, int]:
    """The latents of a call, and how many blocks ran."""
    with Count(pipe) as count:
        made = run(toy, pipe, output_type="latent", **changes)
    return made, count.runs


def planned_share(pipe: Any) -> float:
    """The share of the last call's steps that a speedup of 2 leaves: half, to the nearest whole step."""
    return math.floor(pipe.num_timesteps / 2 + 0.5) / pipe.num_timesteps


@each()
def test_off_changes_nothing(toy: Toy):
    pipe = toy.build()
    bare, runs = counted(toy, pipe)
    with navicache.cached(pipe, method="off"):
        made, all_ran = counted(toy, pipe)
    assert torch.equal(made, bare)
    assert all_ran == runs


@pytest.mark.shows("budget", "import navicache")
@each()
def test_half_of_the_steps_run_in_every_call_and_nothing_is_left_behind(toy: Toy):
    pipe = toy.build()
    bare, runs = counted(toy, pipe)
    before = state_of(pipe)

    navicache.enable(pipe, speedup=2)
    made, first = counted(toy, pipe)
    again, second = counted(toy, pipe)
    navicache.disable(pipe)

    assert made.isfinite().all()
    assert not torch.equal(made, bare)
    assert first == second == runs * planned_share(pipe)
    assert torch.equal(made, again)
    assert state_of(pipe) == before
    after, all_ran = counted(toy, pipe)
    assert torch.equal(after, bare)
    assert all_ran == runs


@each(MOST_DIFFERENT)
def test_the_number_of_steps_may_change_between_calls(toy: Toy):
    pipe = toy.build()
    all_runs = [counted(toy, pipe, steps=steps)[1] for steps in (10, 24)]
    with navicache.cached(pipe, speedup=2):
        for steps, runs in zip((10, 24), all_runs, strict=True):
            made, fewer = counted(toy, pipe, steps=steps)
            assert made.isfinite().all()
            assert fewer == runs * planned_share(pipe)


@pytest.mark.parametrize("call", CALLS)
@each(MOST_DIFFERENT)
def test_other_calls(toy: Toy, call: str):
    if call in toy.stops:
        pytest.skip(f"diffusers itself stops: {toy.stops[call]}")
    pipe = toy.build()
    changes = CALLS[call](toy, pipe)
    with guider_off(pipe) if call == "unguided" else nullcontext():
        bare, runs = counted(toy, pipe, **changes)
        with navicache.cached(pipe, speedup=2):
            # The call before it leaves nothing that the other one would see.
            run(toy, pipe, output_type="latent", steps=4)
            made, fewer = counted(toy, pipe, **changes)
        with navicache.cached(pipe, speedup=2):
            alone, _ = counted(toy, pipe, **changes)
    assert made.shape == bare.shape
    assert fewer == runs * planned_share(pipe)
    assert torch.equal(made, alone)


@each(MOST_DIFFERENT)
def test_nothing_is_kept_when_the_autoencoder_decodes(toy: Toy, monkeypatch: pytest.MonkeyPatch):
    pipe = toy.build()
    held: list[int] = []
    decode = pipe.vae.decode

    def weigh(*args: Any, **kwargs: Any) -> Any:
        held.append(living_bytes())
        return decode(*args, **kwargs)

    monkeypatch.setattr(pipe.vae, "decode", weigh)
    run(toy, pipe)
    held.clear()
    run(toy, pipe)
    bare = list(held)
    held.clear()
    with navicache.cached(pipe, speedup=2):
        run(toy, pipe)
    assert held == bare


@pytest.mark.shows("modes", "import navicache")
@pytest.mark.parametrize(
    "settings",
    [
        {"speedup": 2, "predictor": "residual"},
        {"speedup": 2, "predictor": "hold"},
        {"threshold": 0.2, "align_steps": 3},
        {"method": "easycache", "threshold": 0.2, "align_steps": 3},
        {"speedup": 2, "max_error": 1e9},
    ],
    ids=str,
)
@each({"wan", "ltx2", "latte"})
def test_other_settings(toy: Toy, settings: dict[str, Any]):
    pipe = toy.build()
    bare, runs = counted(toy, pipe)
    with navicache.cached(pipe, **settings) as cache:
        made, fewer = counted(toy, pipe)
        again, _ = counted(toy, pipe)
    assert made.isfinite().all()
    assert torch.equal(made, again)
    report = cache.report()
    assert fewer / runs == 1 - report.skipped_steps / report.steps
    if "max_error" in settings:  # Where no error can be expected, it skips less.
        assert fewer / runs >= planned_share(pipe)
    elif "speedup" in settings:
        assert fewer / runs == planned_share(pipe)
    after, all_runs = counted(toy, pipe)
    assert torch.equal(after, bare)
    assert all_runs == runs
