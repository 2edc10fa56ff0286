"""A stack of blocks under a session: embedders and final layer run, blocks of a skipped step do not."""

from __future__ import annotations

import pytest
import torch
from test_forward_site import noise, session_of
from toys import Block, Stack, timesteps

from navicache_cli.cache import StackSite, attach
from navicache_cli.cache.sites.binding import bound_to
from navicache_cli.errors import SiteError


def latents(t, tokens=5):
    return noise(size=2 * tokens * 4).reshape(2, tokens, 4) * (1 + t)


def site_of(model, hidden=0):
    return StackSite(model, model.in_order(), hidden=hidden)


def manual(model, schedule, computed):
    """What the model gives if the blocks' residual of the last computed step is added instead."""
    outputs, residual = [], None
    for t, compute in zip(schedule, computed, strict=True):
        hidden = 1.5 * latents(t)
        if compute:
            out = hidden
            for block in model.in_order():
                out = block(out, torch.tensor(t))
            residual = out - hidden
        out = hidden + residual
        outputs.append(torch.cat([0.4 * out, out], dim=-1))
    return outputs


@pytest.mark.parametrize("hidden", [0, "hidden"])
@pytest.mark.parametrize("keyword", [False, True])
def test_skipped_steps_run_no_block_and_reuse_the_residual(hidden, keyword):
    model, session = Stack(keyword=keyword), session_of(tau=0.5, steps=12)
    before = [dict(module.__dict__) for module in model.modules()]
    with attach(site_of(model, hidden), session):
        outputs = []
        for t in timesteps(12):
            counts = [block.calls for block in model.in_order()]
            outputs.append(model(latents(t), torch.full((2,), t)))
            ran = [block.calls - count for block, count in zip(model.in_order(), counts, strict=True)]
            assert ran == [int(session.records[-1].computed)] * 6
    computed = [record.computed for record in session.records]
    assert 2 < sum(computed) < 12
    assert model.edges == 12
    assert session.transformer_calls == sum(computed)
    after = [dict(module.__dict__) for module in model.modules()]
    assert [state.keys() for state in after] == [state.keys() for state in before]
    for output, expected in zip(outputs, manual(model, timesteps(12), computed), strict=True):
        torch.testing.assert_close(output, expected)


def test_off_is_bit_identical():
    model, bare = Stack(), Stack()
    with attach(site_of(model), session_of("off")):
        for t in timesteps(12):
            assert torch.equal(model(latents(t), torch.tensor(t)), bare(latents(t), torch.tensor(t)))


def test_branches_share_the_decision():
    model, session = Stack(), session_of(tau=0.5, steps=12)
    with attach(site_of(model), session):
        for t in timesteps(12):
            for b in range(2):
                model(latents(t), torch.tensor(t), context=b)
    computed = sum(record.computed for record in session.records)
    assert computed < 12
    assert all(block.calls == 2 * computed for block in model.in_order())


def test_one_block_is_a_stack():
    model, session = Stack(pairs=1), session_of(tau=100.0, steps=6)
    with attach(StackSite(model, model.spatial), session):
        for t in timesteps(6):
            model(latents(t), torch.tensor(t))
    assert model.spatial[0].calls == 3
    assert model.temporal[0].calls == 6


def test_blocks_called_on_their_own_are_left_alone():
    model, session = Stack(), session_of(tau=100.0, steps=6)
    with attach(site_of(model), session):
        for t in timesteps(6):
            model(latents(t), torch.tensor(t))
            for block in model.in_order():
                expected = block.scale * torch.tanh(latents(t).roll(1, -1) + t)
                torch.testing.assert_close(block(latents(t), t) - latents(t), expected)
    assert all(block.calls == 3 + 6 for block in model.in_order())


def test_a_block_that_raises_ends_the_generation():
    model, session = Stack(), session_of(tau=0.5, steps=12)
    original = model.temporal[1].forward

    def run(fail_at):
        for i, t in enumerate(timesteps(12)):
            if i == fail_at:
                raise_at.append(True)
            model(latents(t), torch.tensor(t))

    raise_at = []

    def flaky(hidden, condition, *, gate=1.0):
        if raise_at:
            raise RuntimeError("out of memory")
        return original(hidden, condition, gate=gate)

    model.temporal[1].forward = flaky
    with attach(site_of(model), session):
        with pytest.raises(RuntimeError, match="out of memory"):
            run(fail_at=1)
        raise_at.clear()
        model.spatial[0](latents(0.5), 0.5)
        run(fail_at=None)
    assert [record.index for record in session.records] == list(range(12))
    assert model.temporal[1].__dict__["forward"] is flaky


def test_two_sessions_on_one_stack_is_an_error_and_binds_nothing():
    model = Stack()
    block_site = StackSite(model, model.spatial)
    with attach(block_site, session_of()):
        bound = bound_to(model.spatial[0])
        with pytest.raises(SiteError, match="attached"), attach(site_of(model), session_of()):
            pass
        assert bound_to(model.spatial[0]) is bound is not None
        assert bound_to(model.temporal[0]) is None


def test_unfit_stacks_are_named():
    model = Stack()
    with pytest.raises(SiteError, match="found 0"):
        StackSite(model, [])
    with pytest.raises(SiteError, match="found 2, of which 1"):
        StackSite(model, [model.spatial[0], model.spatial[0]])
    for site, said in [
        (StackSite(model, model.spatial, timestep="t"), "Stack.forward.*'t'.*timestep"),
        (StackSite(model, model.spatial, hidden="x"), "Block.forward.*'x'.*hidden"),
        (StackSite(model, model.spatial, hidden=7), "Block.forward.*7"),
    ]:
        with pytest.raises(SiteError, match=said), attach(site, session_of()):
            pass
        assert bound_to(model) is None


def test_blocks_listed_out_of_order_are_named():
    model = Stack(pairs=2)
    reverse = StackSite(model, reversed(model.in_order()))
    with attach(reverse, session_of()), pytest.raises(SiteError, match="last block"):
        model(latents(1.0), torch.tensor(1.0))

    class Twice(Stack):
        def in_order(self):
            return super().in_order()[:1] * 2

    model = Twice(pairs=1)
    pair = StackSite(model, [model.spatial[0], model.temporal[0]])
    with attach(pair, session_of()), pytest.raises(SiteError, match="first block"):
        model(latents(1.0), torch.tensor(1.0))


def test_hidden_states_of_another_kind_are_named():
    class Pair(Block):
        def forward(self, hidden, condition):
            return hidden, None

    model = Stack(pairs=1)
    model.temporal[0] = Pair(0.1)
    with attach(site_of(model), session_of()), pytest.raises(SiteError, match="tuple"):
        model(latents(1.0), torch.tensor(1.0))


def test_a_changed_token_count_is_refused():
    class Pooled(Block):
        def forward(self, hidden, condition):
            return hidden[:, :2]

    model = Stack(pairs=1)
    model.temporal[0] = Pooled(0.1)
    with attach(site_of(model), session_of()), pytest.raises(SiteError, match="shapes"):
        model(latents(1.0), torch.tensor(1.0))
