"""The two branches of guidance: both go by what their combination was like, and its misses are measured."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from test_forward_site import timesteps

from navicache_cli.cache import Session
from navicache_cli.cache.policies.policy import Decision, Measure, Region, Signal, Unmeasured
from navicache_cli.cache.predictors.calibrated import Calibrated
from navicache_cli.cache.predictors.predictor import Kept

COMPUTED = (0, 1, 2, 4, 7, 10, 11)
STEPS, SCALE = 12, 6.0


class Listed(Unmeasured):
    """Computes the steps of a list, and notes what predictions would have missed."""

    name, region, signal = "listed", Region.OWN, Signal.INPUT
    measures = Measure.MISSES

    def begin(self, total_steps):
        self.told = []

    def decide(self, index, signal, /):
        return Decision(index in COMPUTED)

    def missed(self, miss, change, norm):
        self.told.append((miss, change, norm))


def outputs_of(branches, guidance, names=None, at=None, paired_until=STEPS):
    """Run the listed steps on outputs that are given; return the session and what each call returned.

    As sites do, names are told where a call starts, not where it is over. From step `paired_until` on the
    first branch is called alone.
    """
    session = Session(Listed(), STEPS, Calibrated)
    session.guidance = guidance
    torch.manual_seed(0)
    curves = [torch.randn(3, 24) for _ in range(branches)]

    def curved(i, b):
        t = i / STEPS
        return (curves[b][0] + t * curves[b][1] + 3 * t * t * curves[b][2]).reshape(1, 24)

    at = at or curved

    returned = {}
    for i, t in enumerate(timesteps(STEPS)):
        session.step(i, float(t))
        for b in range(branches if i < paired_until else 1):
            x = torch.zeros(1, 24)
            with session.branch(*(names[b : b + 1] if names else ())):
                found = session.enter(None, (x,))
            if found is None:
                session.leave((at(i, b),))
            else:
                returned[i, b] = found[0]
    return session, returned, at


def slowing(i, b):
    """Outputs that move ever less, each branch in its own direction and at its own pace."""
    direction = torch.cos(torch.arange(24.0) * (b + 1)).reshape(1, 24)
    return 1 - math.exp(-i * (b + 2) / 8) * direction


def shares(returned, at, branches):
    """How much of its line each branch follows at step 3, before there is an error to feed back."""
    lines = [at(2, b) - at(1, b) for b in range(branches)]
    moved = [returned[3, b] - at(2, b) for b in range(branches)]
    found = [float((m * line).sum() / (line * line).sum()) for m, line in zip(moved, lines, strict=True)]
    for m, line, share in zip(moved, lines, found, strict=True):
        assert torch.allclose(m, share * line, atol=1e-5)
    return found


def learned(outputs):
    """What a branch of these outputs at steps 0, 1 and 2 learns, apart from any session."""
    single = Calibrated()
    history = []
    for i, t in zip(range(3), timesteps(STEPS), strict=False):
        call = Kept(i, (), (outputs(i),), float(t))
        if numbers := single.observe(call, history):
            single.learn({name: float(number) for name, number in numbers.items()})
        history = [call, *history[:1]]
    return single.fit


def test_both_branches_follow_their_lines_as_far_as_the_guided_combination_does():
    _, returned, at = outputs_of(2, SCALE, at=slowing)
    guided = learned(lambda i: at(i, 1) + SCALE * (at(i, 0) - at(i, 1)))
    assert guided.used
    assert shares(returned, at, 2) == pytest.approx([guided.trend] * 2, rel=1e-4)
    assert guided.trend != pytest.approx(learned(lambda i: at(i, 0)).trend, rel=1e-3)


def test_what_guidance_makes_zigzag_is_held():
    zigzag = lambda i, b: torch.full((1, 24), i + (-1) ** i * (0.05 if b else -0.05))  # noqa: E731
    _, returned, at = outputs_of(2, 40.0, at=zigzag)
    assert shares(returned, at, 2) == [0, 0]
    _, returned, at = outputs_of(2, None, at=zigzag)
    assert min(shares(returned, at, 2)) > 0.5  # each by itself is a line, nearly


@pytest.mark.parametrize("guidance", [None, 1.0, 4.0])
def test_without_strong_guidance_each_branch_goes_by_what_it_learns_itself(guidance):
    _, returned, at = outputs_of(2, guidance, at=slowing)
    alone = [learned(lambda i, b=b: at(i, b)).trend for b in range(2)]
    assert shares(returned, at, 2) == pytest.approx(alone, rel=1e-4)
    assert alone[0] != pytest.approx(alone[1], rel=1e-3)


def test_a_third_branch_stands_alone():
    _, returned, at = outputs_of(3, SCALE, at=slowing)
    assert shares(returned, at, 3)[2] == pytest.approx(learned(lambda i: at(i, 2)).trend, rel=1e-4)


def test_a_branch_left_without_the_other_goes_by_what_it_learns_itself():
    _, returned, at = outputs_of(2, SCALE, at=slowing, paired_until=2)
    moved, line = returned[3, 0] - at(2, 0), at(2, 0) - at(1, 0)
    assert torch.allclose(moved, learned(lambda i: at(i, 0)).trend * line, atol=1e-5)


def test_what_the_guided_combination_misses_is_measured():
    session, _, at = outputs_of(2, SCALE)
    session.finish()
    guided = lambda i: at(i, 1) + SCALE * (at(i, 0) - at(i, 1))  # noqa: E731
    change = (guided(1) - guided(0)).abs().mean().item()
    norm = guided(1).abs().mean().item()
    # At step 1 nothing is known but what was held: all that changed was missed. First alone, then the pair.
    alone, pair = session.policy.told[:2]
    assert alone[0] == pytest.approx((at(1, 0) - at(0, 0)).abs().mean().item(), rel=1e-5)
    assert pair == pytest.approx((change, change, norm), rel=1e-5)


@pytest.mark.parametrize("scale", [3.0, SCALE])
def test_what_is_measured_is_what_predictions_would_have_missed(scale):
    session, _, at = outputs_of(2, scale, at=slowing)
    session.finish()
    guided = lambda i: at(i, 1) + scale * (at(i, 0) - at(i, 1))  # noqa: E731
    both = [learned(guided)] * 2 if scale > 4 else [learned(lambda i, b=b: at(i, b)) for b in range(2)]
    # Step 4, after steps 1 and 2 were computed: two steps ahead on lines of one step.
    cond, uncond = (at(2, b) + 2 * fit.trend * fit.used * (at(2, b) - at(1, b)) for b, fit in enumerate(both))
    expected = (guided(4) - uncond - scale * (cond - uncond)).abs().mean().item()
    assert [told[0] for told in session.policy.told[1::2]][2] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("scale", [3.0, SCALE])
def test_the_change_of_the_guided_combination_is_measured_at_every_step(scale):
    session, _, at = outputs_of(2, scale)
    session.finish()
    guided = lambda i: at(i, 1) + scale * (at(i, 0) - at(i, 1))  # noqa: E731
    changes = [change for _, change, _ in session.policy.told[1::2]]
    expected = [(guided(now) - guided(before)).abs().mean().item() for before, now in pairwise(COMPUTED)]
    assert changes == pytest.approx(expected[:-1], rel=1e-4)  # after the last step nothing is decided


def test_a_name_says_which_branch_has_no_prompt():
    ordered, reversed_ = (outputs_of(2, SCALE, names) for names in (("cond", "uncond"), ("uncond", "cond")))
    for session, _, _ in (ordered, reversed_):
        session.finish()
    (_, pair), (_, swapped) = (session.policy.told[:2] for session, _, _ in (ordered, reversed_))
    at = ordered[2]
    guided = lambda i: at(i, 0) + SCALE * (at(i, 1) - at(i, 0))  # noqa: E731
    assert swapped[1] == pytest.approx((guided(1) - guided(0)).abs().mean().item(), rel=1e-5)
    assert pair[1] != pytest.approx(swapped[1], rel=1e-2)


def test_nothing_of_a_pair_is_held_after_its_step():
    session, _, _ = outputs_of(2, SCALE)
    assert session._steps.pair.tensors == []
    session.release()
    assert session.cache_bytes == 0
