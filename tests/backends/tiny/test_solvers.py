from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from backends.tiny.solvers import SOLVERS, FlowDPMpp, FlowUniPC, make_solver
from navicache_cli.errors import UsageError
from tests.repos.checkouts import checkout_of

STEPS = (1, 2, 3, 5, 20, 50)
SHIFTS = (1.0, 3.0, 5.0)
SHAPE = (1, 4, 2, 3, 3)

Model = Callable[[Tensor, float], Tensor]


def toy_model(x: Tensor, t: float) -> Tensor:
    """A velocity that is nonlinear in the sample and in time."""
    return torch.tanh(1.3 * x + math.cos(t / 170)) - 0.4 * x * math.sin(t / 300) + 0.2


def noise() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(7))


def trajectory(name: str, steps: int, shift: float) -> list[Tensor]:
    solver = make_solver(name, steps, shift)
    out = [noise()]
    for t in solver.timesteps:
        out.append(solver.step(toy_model(out[-1], t.item()), out[-1]))
    return out


def reference_trajectory(scheduler: Any) -> list[Tensor]:
    out = [noise()]
    for t in scheduler.timesteps:
        out.append(scheduler.step(toy_model(out[-1], t.item()), t, out[-1], return_dict=False)[0])
    return out


def assert_same(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("shift", SHIFTS)
def test_same_as_diffusers(name: str, steps: int, shift: float) -> None:
    diffusers = pytest.importorskip("diffusers", reason="pip install diffusers")
    maker = {"unipc": diffusers.UniPCMultistepScheduler, "dpm++": diffusers.DPMSolverMultistepScheduler}[name]
    scheduler = maker(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift, final_sigmas_type="zero"
    )
    scheduler.set_timesteps(steps)
    solver = make_solver(name, steps, shift)
    # diffusers starts its schedule elsewhere than Wan, so both get Wan's levels; the steps are what we test.
    scheduler.sigmas, scheduler.timesteps = solver.sigmas, solver.timesteps
    scheduler.set_begin_index(0)
    assert_same(trajectory(name, steps, shift), reference_trajectory(scheduler))


def official(module: str) -> ModuleType:
    repo = checkout_of("NAVICACHE_WAN_REPO", "Wan-Video/Wan2.1")
    pytest.importorskip("diffusers", reason="pip install diffusers")
    path = Path(repo) / "wan" / "utils" / f"{module}.py"
    # By path: `import wan` would want flash-attn and the rest of the official requirements.
    spec = importlib.util.spec_from_file_location(f"official_{module}", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def official_scheduler(name: str, steps: int, shift: float) -> Any:
    if name == "unipc":
        scheduler = official("fm_solvers_unipc").FlowUniPCMultistepScheduler(
            num_train_timesteps=1000, shift=1, use_dynamic_shifting=False
        )
        scheduler.set_timesteps(steps, device="cpu", shift=shift)
        return scheduler
    module = official("fm_solvers")
    scheduler = module.FlowDPMSolverMultistepScheduler(
        num_train_timesteps=1000, shift=1, use_dynamic_shifting=False
    )
    module.retrieve_timesteps(scheduler, device="cpu", sigmas=module.get_sampling_sigmas(steps, shift))
    return scheduler


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("shift", SHIFTS)
def test_same_as_official_wan(name: str, steps: int, shift: float) -> None:
    scheduler = official_scheduler(name, steps, shift)
    solver = make_solver(name, steps, shift)
    assert torch.equal(solver.sigmas, scheduler.sigmas)
    assert torch.equal(solver.timesteps, scheduler.timesteps)
    assert_same(trajectory(name, steps, shift), reference_trajectory(scheduler))


def test_schedules_known_from_wan() -> None:
    unipc, dpmpp = FlowUniPC(50, 5.0), FlowDPMpp(50, 5.0)
    assert unipc.timesteps[:3].tolist() == [999, 995, 991]
    assert dpmpp.timesteps[:3].tolist() == [1000, 995, 991]
    for solver in (unipc, dpmpp):
        assert (solver.sigmas.dtype, solver.timesteps.dtype) == (torch.float32, torch.int64)
        assert solver.sigmas.shape == (51,)
        assert solver.sigmas[-1] == 0


def gaussian_error(name: str, steps: int) -> float:
    """Error against the exact flow of data ~ N(mu, s^2), whose velocity is known in closed form."""
    mu, s = 0.7, 0.5
    solver = make_solver(name, steps, 1.0)

    def std(sigma: float) -> float:
        return math.hypot((1 - sigma) * s, sigma)

    z = torch.linspace(-2, 2, 9, dtype=torch.float64)
    levels = solver.sigmas.tolist()
    x = (1 - levels[0]) * mu + std(levels[0]) * z
    for sigma in levels[:-1]:
        x0 = mu + (1 - sigma) * s * s / std(sigma) ** 2 * (x - (1 - sigma) * mu)
        # float32 in, float32 out would hide the order; UniPC keeps float64, DPM++ is rounded to float32.
        x = solver.step((x - x0) / sigma, x)
    return float((x - (mu + s * z)).abs().max())


@pytest.mark.parametrize("name", SOLVERS)
def test_second_order_on_a_known_ode(name: str) -> None:
    coarse, fine = gaussian_error(name, 40), gaussian_error(name, 160)
    assert fine < 1e-3
    # A quarter of the step: first order would divide the error by 4, second by 16 in the limit.
    assert coarse / fine > 9, f"{coarse} -> {fine}"


@pytest.mark.parametrize("name", SOLVERS)
@settings(max_examples=25, deadline=None)
@given(steps=st.integers(1, 60), shift=st.floats(0.5, 12), value=st.floats(-3, 3))
def test_constant_x0_is_reached_exactly(name: str, steps: int, shift: float, value: float) -> None:
    solver = make_solver(name, steps, shift)
    x = noise()
    assert bool((solver.sigmas.diff() < 0).all())
    for sigma in solver.sigmas[:-1]:
        x = solver.step((x - value) / sigma, x)
    torch.testing.assert_close(x, torch.full(SHAPE, value), rtol=0, atol=2e-6 * (1 + abs(value)))


@pytest.mark.parametrize("name", SOLVERS)
def test_dtype_and_input_are_kept(name: str) -> None:
    solver = make_solver(name, 4, 3.0)
    x = noise().bfloat16()
    before = x.clone()
    out = solver.step(torch.ones_like(x), x)
    assert out.dtype == torch.bfloat16
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", SOLVERS)
def test_one_generation_only(name: str) -> None:
    solver = make_solver(name, 1, 3.0)
    solver.step(noise(), noise())
    with pytest.raises(RuntimeError, match="make a new one"):
        solver.step(noise(), noise())


def test_bad_arguments() -> None:
    with pytest.raises(UsageError, match=r"unipc, dpm\+\+.*'euler'"):
        make_solver("euler", 10, 3.0)
    with pytest.raises(UsageError, match="at least 1 step"):
        make_solver("unipc", 0, 3.0)
    for shift in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="positive shift"):
            make_solver("dpm++", 10, shift)
