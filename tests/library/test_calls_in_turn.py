"""What happens to a pipeline between and during its calls: schedulers, guidance, interruptions, models."""

from typing import Any

import diffusers
import pytest
import torch
from torch import nn

import navicache
from tests.library.leftovers import state_of
from tests.library.pipelines.table import ROW
from tests.library.pipelines.toy import Count, Toy, run


def counted(toy: Toy, pipe: Any, **changes: Any) -> tuple[torch.Tensor, int]:
    """The latents of a call, and how many blocks ran."""
    with Count(pipe) as count:
        made = run(toy, pipe, output_type="latent", **changes)
    return made, count.runs


class Calls:
    """Which calls of a model ran, in the order of the callbacks at the end of each step."""

    def __init__(self, module: nn.Module) -> None:
        self.of_step = [0]
        module.register_forward_pre_hook(self._ran)

    def _ran(self, *_: Any) -> None:
        self.of_step[-1] += 1

    def end_step(self) -> None:
        self.of_step.append(0)


SCHEDULERS = {
    "unipc": lambda: diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    ),
    "dpm++": lambda: diffusers.DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    ),
    "euler": lambda: diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    "stochastic": lambda: diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, stochastic_sampling=True),
    "lcm": lambda: diffusers.FlowMatchLCMScheduler(shift=3.0),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_put_in_while_the_cache_is_on(name: str):
    toy = ROW["wan"]
    pipe = toy.build()
    own = pipe.scheduler
    pipe.scheduler = SCHEDULERS[name]()
    bare, runs = counted(toy, pipe, steps=12)
    pipe.scheduler = own
    with navicache.cached(pipe, speedup=2):
        _, fewer = counted(toy, pipe, steps=12)
        pipe.scheduler = SCHEDULERS[name]()
        made, fewer_again = counted(toy, pipe, steps=12)
    assert fewer == fewer_again == runs // 2
    assert made.isfinite().all()
    assert not torch.equal(made, bare)
    assert type(own) is diffusers.FlowMatchEulerDiscreteScheduler
    after, all_runs = counted(toy, pipe, steps=12)
    assert torch.equal(after, bare)
    assert all_runs == runs


def test_a_scheduler_of_second_order():
    toy = ROW["wan"]
    pipe = toy.build()
    pipe.scheduler = diffusers.FlowMatchHeunDiscreteScheduler(shift=3.0)
    _, runs = counted(toy, pipe, steps=10)
    with navicache.cached(pipe, speedup=2) as cache:
        made, fewer = counted(toy, pipe, steps=10)
        again, _ = counted(toy, pipe, steps=10)
    assert made.isfinite().all()
    assert torch.equal(made, again)
    # 10 steps call the model 19 times.
    assert cache.report().steps == 19
    assert fewer == runs * 10 // 19


@pytest.mark.parametrize("name", ["wan", "ltx", "hunyuan_video", "skyreels_v2_df"])
def test_a_call_that_is_interrupted_leaves_the_next_one_as_it_would_be(name: str):
    toy = ROW[name]
    pipe = toy.build()

    def interrupt(pipe: Any, index: int, timestep: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        pipe._interrupt = index >= 4
        return arguments

    with navicache.cached(pipe, speedup=2):
        expected, runs = counted(toy, pipe)
        _, fewer = counted(toy, pipe, callback_on_step_end=interrupt)
        made, runs_again = counted(toy, pipe)
    assert 0 < fewer < runs == runs_again
    assert torch.equal(made, expected)


def test_a_call_that_fails_leaves_the_next_one_as_it_would_be():
    toy = ROW["wan"]
    pipe = toy.build()

    def fail(pipe: Any, index: int, timestep: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        if index == 5:
            raise KeyboardInterrupt
        return arguments

    with navicache.cached(pipe, speedup=2):
        expected, _ = counted(toy, pipe)
        with pytest.raises(KeyboardInterrupt):
            run(toy, pipe, callback_on_step_end=fail)
        made, _ = counted(toy, pipe)
    assert torch.equal(made, expected)


@pytest.mark.parametrize("name", ["wan", "hunyuan_video", "skyreels_v2"])
def test_guidance_that_ends_midway_calls_one_branch_less(name: str):
    toy = ROW[name]
    pipe = toy.build()
    calls = Calls(pipe.transformer)

    def end_guidance(pipe: Any, index: int, timestep: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        calls.end_step()
        if index == 5:
            pipe._guidance_scale = 1.0
        return arguments

    made = {}
    for cached in (False, True):
        if cached:
            navicache.enable(pipe, speedup=2)
        calls.of_step = [0]
        made[cached] = run(toy, pipe, steps=12, output_type="latent", callback_on_step_end=end_guidance)
        of_step = calls.of_step[:12]
        if not cached:
            all_calls = of_step
    assert made[True].isfinite().all()
    ran = [bool(count) for count in of_step]
    assert sum(ran) == 6
    # A step runs all of its branches or none.
    assert of_step == [count if one else 0 for count, one in zip(all_calls, ran, strict=True)]
    spread = (made[False] - made[False].mean()).abs().mean()
    assert (made[True] - made[False]).abs().mean() < spread


def test_a_guider_with_an_interval():
    from diffusers.guiders import ClassifierFreeGuidance

    toy = ROW["hunyuan_video1_5"]
    pipe = toy.build()

    def call() -> tuple[torch.Tensor, int]:
        # A new one: at the end of a call the guider takes itself for off, and the next call would not
        # encode the negative prompt.
        pipe.guider = ClassifierFreeGuidance(guidance_scale=6.0, start=0.25, stop=0.75)
        return counted(toy, pipe, steps=12)

    _, runs = call()
    with navicache.cached(pipe, speedup=2) as cache:
        made, fewer = call()
        again, _ = call()
    assert torch.equal(made, again)
    assert cache.report().skipped_steps == 6
    assert fewer < runs


def test_a_second_pipeline_with_the_same_transformer_is_not_cached_and_disturbs_nothing():
    toy = ROW["wan"]
    pipe = toy.build()
    other = diffusers.WanPipeline(**{**pipe.components, "scheduler": toy.build().scheduler})
    other.set_progress_bar_config(disable=True)
    bare, runs = counted(toy, other)
    before = state_of(other)
    with navicache.cached(pipe, speedup=2):
        made, fewer = counted(toy, pipe)
        from_other, all_runs = counted(toy, other)
        again, _ = counted(toy, pipe)
        with pytest.raises(navicache.SiteError, match="found"):
            navicache.enable(other)
    assert fewer == runs // 2
    assert all_runs == runs
    assert torch.equal(from_other, bare)
    assert torch.equal(made, again)
    assert state_of(other) == before


def test_a_transformer_put_in_while_the_cache_is_on():
    toy = ROW["wan"]
    pipe = toy.build()
    old, new = pipe.transformer, toy.build().transformer
    _, runs = counted(toy, pipe)
    with navicache.cached(pipe, speedup=2):
        expected, _ = counted(toy, pipe)
        pipe.transformer = new
        made, fewer = counted(toy, pipe)
        assert old._compiled_call_impl is None
    assert fewer == runs // 2
    assert torch.equal(made, expected)
    assert new._compiled_call_impl is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ["mochi", "hunyuan_video", "wan"])
def test_timesteps_that_fall_together_in_a_small_type_are_still_steps(name: str, dtype: torch.dtype):
    toy = ROW[name]
    pipe = toy.build().to(dtype)
    _, runs = counted(toy, pipe, steps=50)
    with navicache.cached(pipe, speedup=2) as cache:
        made, fewer = counted(toy, pipe, steps=50)
    assert made.isfinite().all()
    assert fewer == runs // 2
    assert cache.report().steps == 50


@pytest.mark.parametrize("ar_step", [0, 2])
def test_frames_of_skyreels_that_are_denoised_one_after_the_other(ar_step: int):
    toy = ROW["skyreels_v2_df"]
    pipe = toy.build()
    asynchronous = {"num_frames": 17, "ar_step": ar_step, "causal_block_size": 1}
    _, runs = counted(toy, pipe, **asynchronous)
    with navicache.cached(pipe, speedup=1.5) as cache:
        made, fewer = counted(toy, pipe, **asynchronous)
        again, _ = counted(toy, pipe, **asynchronous)
    assert made.isfinite().all()
    assert torch.equal(made, again)
    report = cache.report()
    # Two branches of two blocks in each step.
    assert fewer == 4 * (report.steps - report.skipped_steps)
    assert runs == 4 * report.steps
    assert fewer < runs
