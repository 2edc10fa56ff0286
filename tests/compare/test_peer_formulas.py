"""What other libraries' caches compute and skip on tiny, against their formulas written again plainly."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import version

import pytest
import torch
from torch import Tensor

from backends.protocol import Stages
from backends.tiny.backend import TinyPipeline, shipped_weights
from backends.tiny.solvers import make_solver
from navicache_cli.compare.peers.caches import switched_on
from navicache_cli.compare.peers.peers import installed
from navicache_cli.compare.settings import peer_setting
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.plan import Plan, resolve

STEPS = 24
VERSION = version("cache-dit") if installed("cache-dit:dbcache") else ""


def plan() -> Plan:
    """One branch, so that the calls are the steps."""
    values = {"mode": "off", "steps": STEPS, "guidance": 1, "prompt": "a red circle moving right"}
    return resolve([Layer("test", values)])


@cache
def tiny() -> TinyPipeline:
    return TinyPipeline(shipped_weights(), device="cpu")


@dataclass
class Followed:
    """One generation's tensors, step by step."""

    latents: list[Tensor] = field(default_factory=list)
    entered: list[Tensor] = field(default_factory=list)  # into the stack of blocks
    after_first: list[Tensor] = field(default_factory=list)  # behind the first block
    left: list[Tensor] = field(default_factory=list)  # out of the stack
    computed: list[bool] = field(default_factory=list)


def follow(name: str, **knobs: float) -> Followed:
    """Generate under a peer's cache and look at what goes in and out of the blocks."""
    twin = tiny().twin()
    (model,) = twin.models
    seen = Followed()

    def enter(module, arguments, options):
        seen.latents.append(options["hidden_states"][0, :16])
        seen.computed.append(False)

    def last_block_runs(*_):
        seen.computed[-1] = True

    model.register_forward_pre_hook(enter, with_kwargs=True)
    model.patch_embedding.register_forward_hook(
        lambda *call: seen.entered.append(call[-1].flatten(2).transpose(1, 2))
    )
    model.blocks[0].register_forward_hook(lambda *call: seen.after_first.append(call[-1]))
    model.blocks[-1].attn1.to_q.register_forward_hook(last_block_runs)
    model.norm_out.register_forward_pre_hook(lambda module, call: seen.left.append(call[0]))
    arguments = dict(peer_setting("test", name, knobs).arguments)
    with switched_on(twin.models, arguments.pop("peer"), arguments, plan()):
        twin.generate(plan(), Stages())
    assert len(seen.latents) == len(seen.entered) == len(seen.left) == STEPS
    return seen


def filtered(latents: Tensor, sigma: float) -> Tensor:
    """Equations 5 to 7 of SeaCache (arXiv 2602.18993): a Wiener filter of each axis for 1/f^3 content."""
    sigma = min(max(sigma, 1e-6), 1 - 1e-6)
    gain = torch.ones(latents.shape[1:])
    for axis, count in enumerate(latents.shape[1:]):
        power = 1 / (torch.fft.fftfreq(count).abs() ** 3 + 1e-16)
        wiener = (1 - sigma) * power / ((1 - sigma) ** 2 * power + sigma**2)
        gain = gain * wiener.reshape([count if axis == other else 1 for other in range(3)])
    return torch.fft.ifftn(torch.fft.fftn(latents, dim=(1, 2, 3)) * gain / gain.mean(), dim=(1, 2, 3)).real


@pytest.mark.parametrize(
    "knobs",
    [
        {"threshold": 0.25},
        {"threshold": 0.2, "max_skips": 0, "warmup": 5, "end": 3},
        {"threshold": 0.2, "order": 0},
    ],
    ids=str,
)
@pytest.mark.skipif(not installed("diffusers:seacache"), reason="pip install 'navicache[peers]' to test it")
def test_seacache_skips_and_predicts_as_its_paper_says(knobs):
    seen = follow("diffusers:seacache", **knobs)
    whole = {"max_skips": 2, "warmup": 1, "end": 1, "order": 1, **knobs}
    sigmas = make_solver("unipc", STEPS, plan().shift).sigmas.tolist()
    signals = [filtered(one, sigma) for one, sigma in zip(seen.latents, sigmas, strict=False)]
    budget, skips, known = 0.0, 0, []
    for step in range(STEPS):
        if step:
            change = (signals[step] - signals[step - 1]).abs().mean() / signals[step - 1].abs().mean()
            budget += change.item()
        forced = (
            step < max(whole["warmup"], 1)
            or step >= STEPS - whole["end"]
            or (whole["max_skips"] and skips == whole["max_skips"])
        )
        computed = forced or budget >= whole["threshold"]
        assert seen.computed[step] == computed, step
        residual = seen.left[step] - seen.entered[step]
        if computed:
            budget, skips = 0.0, 0
            known = [*known, (step, residual)][-2:]
        else:
            skips += 1
            expected = known[-1][1]
            if whole["order"] and len(known) == 2:
                (before, older), (last, newer) = known
                expected = newer + (newer - older) * (step - last) / (last - before)
            torch.testing.assert_close(residual, expected, rtol=1e-3, atol=1e-3)
    assert 0.3 < sum(seen.computed) / STEPS < 0.8
    assert not whole["max_skips"] or max(map(len, gaps(seen.computed))) == whole["max_skips"]


def gaps(computed: list[bool]) -> list[str]:
    """The runs of skipped steps."""
    return "".join("#" if one else "." for one in computed).strip("#").split("#")


class Repeated:
    """The last residual, which DBCache takes by itself."""

    def computed(self, step: int, residual: Tensor) -> None:
        self.last = residual

    def predicted(self, step: int) -> Tensor:
        return self.last


class Taylor:
    """First order, by the steps in between."""

    def __init__(self) -> None:
        self.known: list[tuple[int, Tensor]] = []

    def computed(self, step: int, residual: Tensor) -> None:
        self.known = [*self.known, (step, residual)][-2:]

    def predicted(self, step: int) -> Tensor:
        (before, older), (last, newer) = self.known
        return newer + (newer - older) * (step - last) / (last - before)


class DynamicModes:
    """The linear map that takes each of the last residuals to the next, taken again."""

    def __init__(self, history: int) -> None:
        self.history = history
        self.known: list[tuple[int, Tensor]] = []

    def computed(self, step: int, residual: Tensor) -> None:
        self.known = [*self.known, (step, residual)][-self.history :]

    def predicted(self, step: int) -> Tensor | None:
        """None where fewer than four residuals are evenly apart."""
        spacing = self.known[-1][0] - self.known[-2][0]
        even = [self.known[-1]]
        for one in reversed(self.known[:-1]):
            if even[0][0] - one[0] != spacing:
                break
            even.insert(0, one)
        last, newest = even[-1]
        if len(even) < 4:
            return None
        columns = torch.stack([one.flatten() for _, one in even], dim=1).double()
        left, sizes, right = torch.linalg.svd(columns[:, :-1], full_matrices=False)
        kept = sizes > 1e-4 * sizes[0]
        moved = columns[:, 1:] @ right[kept].T / sizes[kept]
        start = torch.linalg.lstsq(moved, columns[:, -1:]).solution
        values, vectors = torch.linalg.eig(left[:, kept].T @ moved)
        power = vectors @ torch.diag(values ** ((step - last) / spacing)) @ torch.linalg.inv(vectors)
        return (moved @ (power.real @ start))[:, 0].reshape(newest.shape).float()


class ForecastThenCalibrate:
    """Heun's rule from the last computed residual; a prediction takes part as if it had been computed.

    Every change counts as that of one step, however many lie between.
    """

    def __init__(self) -> None:
        self.anchors: list[Tensor] = []
        self.recent: list[Tensor] = []

    def computed(self, step: int, residual: Tensor) -> None:
        self.last = step
        self.anchors = [*self.anchors, residual][-2:]
        self.recent = [*self.recent, residual][-2:]

    def predicted(self, step: int) -> Tensor:
        reach = step - self.last
        change = (self.anchors[1] - self.anchors[0] + self.recent[1] - self.recent[0]) / 2
        found = self.anchors[1] + min(reach, 3) * change * min(1, 3 / reach)
        self.recent = [self.recent[1], found]
        return found


@pytest.mark.parametrize(
    ("name", "knobs", "formula"),
    [
        ("cache-dit:dbcache", {}, Repeated),
        ("cache-dit:dbcache-taylor", {}, Taylor),
        ("cache-dit:dbcache-dmd", {"history": 5}, partial(DynamicModes, 5)),
        ("cache-dit:dbcache-foca", {}, ForecastThenCalibrate),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.skipif(not installed("cache-dit:dbcache"), reason="pip install 'navicache[peers]' to test it")
def test_calibrators_of_dbcache_predict_by_their_formulas(name, knobs, formula):
    """The first block runs at every step; what is predicted is what the others add to it."""
    seen = follow(name, threshold=0.3, warmup=6, **knobs)
    predictor, checked = formula(), 0
    for step, (first, last) in enumerate(zip(seen.after_first, seen.left, strict=True)):
        if seen.computed[step]:
            predictor.computed(step, last - first)
        elif (expected := predictor.predicted(step)) is not None:
            torch.testing.assert_close(last - first, expected, rtol=1e-3, atol=2e-3)
            checked += 1
    assert checked >= 6
    assert all(seen.computed[:6])
    assert 0.3 < sum(seen.computed) / STEPS < 0.8


@pytest.mark.skipif(VERSION != "1.5.3", reason="pip install cache-dit==1.5.3 to test what it does")
def test_dmd_without_four_evenly_spaced_steps_takes_the_change_twice():
    """The change over two intervals, divided by the last one alone; docs/comparing.md says so."""
    seen = follow("cache-dit:dbcache-dmd", threshold=0.3, warmup=6)
    steps = [step for step in range(STEPS) if seen.computed[step]]
    oldest, older, newest = steps[4:7]
    assert (oldest, older) == (4, 5)
    assert newest > 6
    residual = [last - first for first, last in zip(seen.after_first, seen.left, strict=True)]
    change = (residual[newest] - residual[oldest]) / (newest - older)
    assert not seen.computed[newest + 1]
    torch.testing.assert_close(residual[newest + 1], residual[newest] + change, rtol=1e-3, atol=2e-3)
