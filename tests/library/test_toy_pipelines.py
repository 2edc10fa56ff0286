"""The toy pipelines themselves: without a cache they do what the tests of the cache take for granted."""

import pytest
import torch

from tests.library.pipelines.calls import CALLS, guider_off
from tests.library.pipelines.each import each
from tests.library.pipelines.table import ROWS
from tests.library.pipelines.toy import Count, Toy, denoisers, run


def test_every_name_is_there_once():
    assert len({toy.name for toy in ROWS}) == len(ROWS)


@each()
def test_a_toy_makes_the_same_from_one_seed_and_more_from_another(toy: Toy):
    pipe = toy.build()
    assert 1 <= len(denoisers(pipe)) <= 2
    with Count(pipe) as first:
        made = run(toy, pipe)
    assert made.isfinite().all()
    assert made.std() > 0.01
    # Two blocks, in every step.
    assert first.runs >= pipe.num_timesteps * 2
    assert torch.equal(run(toy, pipe), made)
    assert not torch.equal(run(toy, pipe, seed=1), made)


@pytest.mark.slow
@each()
def test_a_toy_reads_its_prompts(toy: Toy):
    arguments = toy.arguments()
    prompts = {name: "a blue star" for name in ("prompt", "negative_prompt") if name in arguments}
    pipe = toy.build()
    made = run(toy, pipe, steps=4, output_type="latent")
    for name, words in prompts.items():
        assert not torch.equal(run(toy, pipe, steps=4, output_type="latent", **{name: words}), made)


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
@each()
def test_a_toy_takes_other_calls_or_diffusers_stops(toy: Toy, call: str):
    pipe = toy.build()
    changes = CALLS[call](toy, pipe)
    if call in toy.stops:
        with pytest.raises((RuntimeError, TypeError, ValueError), match=toy.stops[call]):
            run(toy, pipe, output_type="latent", steps=4, **changes)
        return
    with guider_off(pipe):
        made = run(toy, pipe, output_type="latent", steps=4, **changes)
    assert made.isfinite().all()
