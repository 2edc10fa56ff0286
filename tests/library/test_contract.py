"""What diffusers' tests ask of its own caches, asked of ours, on the transformers of the toy pipelines.

There: enabling and disabling, enabling twice, hooks put on and taken off, contexts kept apart, state that is
reset, results close to the uncached ones and the very same after disabling.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

import navicache
from navicache import SiteError, UsageError
from tests.library.leftovers import state_of
from tests.library.pipelines.each import each
from tests.library.pipelines.table import ROW
from tests.library.pipelines.toy import Toy, denoisers, run

EVERY_DAY = {"wan", "ltx2_i2v", "hunyuan_video1_5", "latte", "cosmos_v2w", "flux", "mochi"}
STEPS = 6


@dataclass
class Model:
    """A transformer and the arguments of its first call in its pipeline."""

    pipe: Any
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    runs: int = 0

    @torch.no_grad()
    def __call__(self, moved: float = 0.0) -> torch.Tensor:
        """The first output for the same arguments, the latents moved so far."""
        kwargs = {
            name: value + moved if name in ("hidden_states", "audio_hidden_states") else value
            for name, value in self.kwargs.items()
        }
        return self.module(*self.args, **kwargs)[0]


@pytest.fixture
def model_of() -> Callable[[Toy], Model]:
    """Finds the transformer of a toy, and counts how often it runs."""

    def find(toy: Toy) -> Model:
        pipe = toy.build()
        module = denoisers(pipe)[0]
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        hook = module.register_forward_pre_hook(
            lambda _, args, kwargs: calls.append((args, kwargs)), with_kwargs=True
        )
        run(toy, pipe, steps=4, output_type="latent")
        hook.remove()
        assert "hidden_states" in calls[0][1]
        model = Model(pipe, module, *calls[0])

        def ran(*_: Any) -> None:
            model.runs += 1

        # Below the cache, which is outermost.
        module.register_forward_pre_hook(ran)
        return model

    return find


@each(EVERY_DAY)
def test_enabled_once_and_disabled(toy: Toy, model_of: Callable[[Toy], Model]):
    model = model_of(toy)
    before = state_of(model.pipe)
    cache = navicache.enable(model.module, steps=STEPS)
    assert cache.enabled
    for target in (model.module, model.pipe):
        arguments = {"steps": STEPS} if target is model.module else {}
        with pytest.raises(SiteError, match="found"):
            navicache.enable(target, **arguments)
    navicache.disable(model.module)
    assert not cache.enabled
    assert state_of(model.pipe) == before
    with pytest.raises(UsageError, match="found none"):
        navicache.disable(model.module)
    with navicache.cached(model.pipe):
        pass
    assert state_of(model.pipe) == before


@each(EVERY_DAY)
def test_a_skipped_call_is_near_and_after_disabling_none_is(toy: Toy, model_of: Callable[[Toy], Model]):
    model = model_of(toy)
    moves = [0.02 * index for index in range(STEPS)]
    bare = [model(move) for move in moves]
    model.runs = 0
    with navicache.cached(model.module, steps=STEPS, speedup=2) as cache:
        made = []
        for index, move in enumerate(moves):
            cache.step(index)
            made.append(model(move))
    assert model.runs == STEPS // 2
    computed = [step.computed for step in cache.report().loops[0].steps]
    assert computed.count(True) == model.runs
    for was_computed, ours, theirs in zip(computed, made, bare, strict=True):
        assert torch.equal(ours, theirs) == was_computed
        assert (ours - theirs).abs().mean() < 0.5 * theirs.abs().mean()
    assert torch.equal(model(moves[3]), bare[3])


@each(EVERY_DAY)
def test_contexts_are_kept_apart_in_any_order(toy: Toy, model_of: Callable[[Toy], Model]):
    model = model_of(toy)
    # Two branches that are far apart; one of them drops out in the middle.
    offsets = {"cond": 0.0, "uncond": 3.0}
    orders = [("cond", "uncond"), ("uncond", "cond"), ("uncond",), ("cond", "uncond"), ("uncond", "cond")]
    with navicache.cached(model.module, steps=len(orders), speedup=1.6, align_steps=2) as cache:
        context = getattr(model.module, "cache_context", cache.branch)
        made: dict[str, list[torch.Tensor]] = {"cond": [], "uncond": []}
        for index, order in enumerate(orders):
            cache.step(index)
            for branch in order:
                with context(branch):
                    made[branch].append(model(offsets[branch] + 0.02 * index))
        computed = [step.computed for step in cache.report().loops[0].steps]
    assert not all(computed)
    bare = {branch: model(offset) for branch, offset in offsets.items()}
    apart = (bare["cond"] - bare["uncond"]).abs().mean()
    for branch, outputs in made.items():
        for output in outputs:
            assert (output - bare[branch]).abs().mean() < apart / 2


@each(EVERY_DAY)
def test_a_first_call_in_each_context_is_computed(toy: Toy, model_of: Callable[[Toy], Model]):
    model = model_of(toy)
    bare = model()
    with navicache.cached(model.module, steps=STEPS) as cache:
        cache.step(0)
        for branch in ("a", "b"):
            with cache.branch(branch):
                assert torch.equal(model(), bare)


@each(EVERY_DAY)
def test_a_new_generation_knows_nothing_of_the_last(toy: Toy, model_of: Callable[[Toy], Model]):
    model = model_of(toy)

    def generation(cache: navicache.Cache) -> list[torch.Tensor]:
        made = []
        for index in range(STEPS):
            cache.step(index)
            made.append(model(0.02 * index))
        return made

    with navicache.cached(model.module, steps=STEPS) as cache:
        first = generation(cache)
        # One is broken off in the middle.
        cache.begin(STEPS)
        for index in range(3):
            cache.step(index)
            model(5.0)
        cache.begin(STEPS)
        second = generation(cache)
    assert all(itertools.starmap(torch.equal, zip(first, second, strict=True)))


@each(EVERY_DAY)
def test_hooks_put_on_and_taken_off_meanwhile(toy: Toy, model_of: Callable[[Toy], Model]):
    from diffusers.hooks import HookRegistry, ModelHook

    class Doubles(ModelHook):
        def post_forward(self, module: nn.Module, output: Any) -> Any:
            return (output[0] * 2, *output[1:]) if isinstance(output, tuple) else output

    model = model_of(toy)
    model.kwargs["return_dict"] = False
    bare = model()
    registry = HookRegistry.check_if_exists_or_initialize(model.module)
    registry.register_hook(Doubles(), "before")
    assert torch.equal(model(), bare * 2)
    with navicache.cached(model.module, steps=STEPS) as cache:
        cache.step(0)
        registry.register_hook(Doubles(), "meanwhile")
        assert torch.equal(model(), bare * 4)
        registry.remove_hook("before")
        cache.step(1)
        assert torch.equal(model(), bare * 2)
    assert torch.equal(model(), bare * 2)
    registry.remove_hook("meanwhile")
    assert torch.equal(model(), bare)


def test_a_cache_of_diffusers_is_refused_by_its_name():
    from diffusers import FirstBlockCacheConfig

    pipe = ROW["wan"].build()
    pipe.transformer.enable_cache(FirstBlockCacheConfig())
    with pytest.raises(SiteError, match="FirstBlockCacheConfig"):
        navicache.enable(pipe)
    with pytest.raises(SiteError, match="FirstBlockCacheConfig"):
        navicache.enable(pipe.transformer, steps=STEPS)
    pipe.transformer.disable_cache()
    with navicache.cached(pipe):
        pass
