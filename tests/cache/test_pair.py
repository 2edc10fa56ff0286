"""The two branches of guidance: the second moves as the first, and the combination's misses are measured."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from test_forward_site import timesteps

from navicache_cli.cache import Session
from navicache_cli.cache.policies.policy import Decision, Measure, Region, Signal, Unmeasured
from navicache_cli.cache.predictors.calibrated import Calibrated

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


def outputs_of(branches, guidance, names=None):
    """Run the listed steps on outputs that are given; return the session and what each call returned.

    As sites do, names are told where a call starts, not where it is over.
    """
    session = Session(Listed(), STEPS, Calibrated)
    session.guidance = guidance
    torch.manual_seed(0)
    curves = [torch.randn(3, 24) for _ in range(branches)]
    given = {}

    def at(i, b):
        t = i / STEPS
        return (curves[b][0] + t * curves[b][1] + 3 * t * t * curves[b][2]).reshape(1, 24)

    returned = {}
    for i, t in enumerate(timesteps(STEPS)):
        session.step(i, float(t))
        for b in range(branches):
            x = torch.zeros(1, 24)
            with session.branch(*(names[b : b + 1] if names else ())):
                found = session.enter(None, (x,))
            if found is None:
                given[i, b] = at(i, b)
                session.leave((given[i, b],))
            else:
                returned[i, b] = found[0]
    return session, returned, at


def test_the_second_branch_moves_as_the_first_does():
    _, returned, at = outputs_of(2, SCALE)
    # Step 3: the first run of skips, before there is an error to feed back.
    first, second = (returned[3, b] - at(2, b) for b in range(2))
    assert first.abs().max() > 0.01
    assert torch.allclose(first, second, atol=1e-6)


@pytest.mark.parametrize("guidance", [None, 1.0, 4.0])
def test_without_strong_guidance_each_branch_moves_by_itself(guidance):
    _, returned, at = outputs_of(2, guidance)
    first, second = (returned[3, b] - at(2, b) for b in range(2))
    assert not torch.allclose(first, second, atol=1e-3)


def test_a_third_branch_stands_alone():
    _, returned, at = outputs_of(3, SCALE)
    first, third = (returned[3, b] - at(2, b) for b in (0, 2))
    assert not torch.allclose(first, third, atol=1e-3)


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
def test_the_change_of_the_guided_combination_is_what_it_is_whoever_is_followed(scale):
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
    assert session._steps.pair.tensors == [(), ()] or session._steps.is_last
    session.release()
    assert session.cache_bytes == 0
