"""The other papers' methods on models: what runs, what skipped steps return, what is kept and put back."""

from __future__ import annotations

from itertools import pairwise

import peer_oracles as oracles
import pytest
import torch
from test_forward_site import noise
from test_stack_site import latents
from torch import nn
from toys import Stack, Tiny, sample, timesteps

from navicache_cli.cache import (
    Architecture,
    AttentionSite,
    FirstBlockCache,
    ForwardSite,
    MagCache,
    PyramidAttentionBroadcast,
    Region,
    Session,
    StackSite,
    TaylorSeer,
    TeaCache,
    attach,
)
from navicache_cli.cache import tensors as tensor_tools
from navicache_cli.cache.policies.magcache import MeasureRatios
from navicache_cli.cache.sites.binding import bound_to
from navicache_cli.cache.sites.stack_site import argument
from navicache_cli.errors import SiteError

STEPS = 12
SIZE = 2 * 5 * 4 * 4  # bytes of the toy stack's hidden states


def condition(block, args, kwargs):
    """What modulates the toy's blocks."""
    return argument("condition", 1)(block, args, kwargs).reshape(1)


def stack_site(model, **options):
    return StackSite(model, model.in_order(), **options)


def outputs_of(model, site, session, branches=1, steps=STEPS):
    """The model's outputs over a generation, its blocks' calls at each, and the bytes kept after each."""
    outputs, calls, kept = [], [], []
    with attach(site, session):
        for t in timesteps(steps):
            before = [block.calls for block in model.in_order()]
            for b in range(branches):
                outputs.append(model(latents(t), torch.tensor(t), context=b))
            calls.append([block.calls - c for block, c in zip(model.in_order(), before, strict=True)])
            kept.append(session.cache_bytes)
    return outputs, calls, kept


def run_blocks(model, blocks, hidden, t, b):
    for block in blocks:
        hidden = block(hidden, torch.tensor(t) - 0.1 * b)
    return hidden


def final(out):
    return torch.cat([0.4 * out, out], dim=-1)


def relative(a, b):
    return float((a - b).abs().mean() / b.abs().mean())


def computed_of(session):
    return [record.computed for record in session.records]


def assert_near(made, expected):
    for a, b in zip(made, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("branches", [1, 2])
def test_teacache_follows_the_modulation_and_adds_the_residual(branches):
    model, plain = Stack(), Stack()
    session = Session(TeaCache(0.3, 1, (1.0, 0.02)), STEPS)
    made, calls, kept = outputs_of(model, stack_site(model, modulation=condition), session, branches)

    ts = timesteps(STEPS)
    changes = [0.0] + [relative(torch.tensor(t), torch.tensor(s)) for s, t in pairwise(ts)]
    computed = oracles.teacache(changes, (1.0, 0.02), 0.3, first=1, last=1)
    assert 3 < sum(computed) < STEPS
    assert computed_of(session) == computed
    assert calls == [[branches * c] * 6 for c in computed]
    assert [r.measured.signal for r in session.records[1:]] == pytest.approx(changes[1:], rel=1e-5)
    assert all(r.measured.input_change is None for r in session.records)

    expected, residual = [], {}
    for t, compute in zip(ts, computed, strict=True):
        for b in range(branches):
            hidden = 1.5 * latents(t)
            if compute:
                residual[b] = run_blocks(plain, plain.in_order(), hidden, t, b) - hidden
            expected.append(final(hidden + residual[b]))
    assert_near(made, expected)
    # One residual a branch and the last modulation; nothing after the end but that.
    assert kept[:-1] == [branches * SIZE + 4] * (STEPS - 1)
    assert session.cache_bytes == 0


def test_a_method_without_its_signal_is_named():
    for policy, said in [(TeaCache(0.1), "teacache"), (FirstBlockCache(0.1), "fbcache")]:
        model = Stack()
        with (
            attach(stack_site(model), Session(policy, STEPS)),
            pytest.raises(SiteError, match=f"what {said} decides by"),
        ):
            model(latents(1.0), torch.tensor(1.0))


@pytest.mark.parametrize("branches", [1, 2])
def test_fbcache_runs_the_first_block_and_reuses_the_others(branches):
    threshold = 0.05
    model, plain = Stack(), Stack()
    session = Session(FirstBlockCache(threshold), STEPS)
    made, calls, kept = outputs_of(model, stack_site(model, head=1), session, branches)

    head, *tail = plain.in_order()
    expected, computed, added, residual = [], [], None, {}
    for t in timesteps(STEPS):
        for b in range(branches):
            hidden = 1.5 * latents(t)
            first = run_blocks(plain, [head], hidden, t, b)
            if b == 0:
                compute = added is None or not relative(first - hidden, added) < threshold
                computed.append(compute)
                added = first - hidden if compute else added
            if compute:
                residual[b] = run_blocks(plain, tail, first, t, b) - first
            expected.append(final(first + residual[b]))
    assert 2 < sum(computed) < STEPS
    assert computed_of(session) == computed
    assert calls == [[branches] + [branches * c] * 5 for c in computed]
    assert_near(made, expected)
    # A residual of the tail for each branch, and that of the first block for the first branch.
    assert kept[0] == (branches + 1) * SIZE


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("branches", [1, 2])
def test_taylorseer_extrapolates_outputs(order, branches):
    model = Tiny()
    session = Session(TaylorSeer(1, 3, order), STEPS)
    x, kept = noise(), []
    with attach(ForwardSite(model), session):
        made = []
        for t in timesteps(STEPS):
            made.append([model(x * (1 + t), torch.tensor(t), context=b) for b in range(branches)])
            kept.append(session.cache_bytes // (24 * 4))
    computed = oracles.taylorseer(STEPS, 3, 1)
    assert computed_of(session) == computed
    assert model.calls == branches * sum(computed)
    for b in range(branches):
        factors = [oracles.TaylorFactors(order) for _ in range(24)]
        for i, (t, compute) in enumerate(zip(timesteps(STEPS), computed, strict=True)):
            if compute:
                y = Tiny().one(x * (1 + t), torch.tensor(t), b)
                for factor, value in zip(factors, y.tolist(), strict=True):
                    factor.update(i, value)
            else:
                y = torch.tensor([factor.predict(i) for factor in factors])
            torch.testing.assert_close(made[i][b], y, atol=1e-4, rtol=1e-4)
    most = [min(order + 1, sum(computed[: i + 1])) * branches for i in range(STEPS - 1)]
    assert kept[:-1] == most


def test_magcache_needs_no_measurement():
    ratios = [1.0] + [0.97] * 11
    model, plain = Stack(), Stack()
    session = Session(MagCache(0.12, ratios, 2), STEPS)
    made, _, kept = outputs_of(model, stack_site(model), session, 2)
    computed = oracles.magcache(ratios, STEPS, 0.12, 2, 0.2)
    assert computed_of(session) == computed
    assert computed.count(False) > 3
    for i, t in enumerate(timesteps(STEPS)):
        if computed[i]:
            assert_near([made[2 * i]], [final(run_blocks(plain, plain.in_order(), 1.5 * latents(t), t, 0))])
    assert kept[0] == 2 * SIZE
    assert all(record.measured.output_norm is None for record in session.records)


def test_the_ratios_are_those_of_the_residuals():
    model, plain = Stack(), Stack()
    session = Session(MeasureRatios(), STEPS)
    _, calls, _ = outputs_of(model, stack_site(model), session, 2)
    assert calls == [[2] * 6] * STEPS
    residuals = []
    for t in timesteps(STEPS):
        hidden = 1.5 * latents(t)
        residuals.append(run_blocks(plain, plain.in_order(), hidden, t, 0) - hidden)
    expected = [float((b.norm(dim=-1) / a.norm(dim=-1)).mean()) for a, b in pairwise(residuals)]
    measured = [record.measured.residual_ratio for record in session.records]
    assert measured[0] is None
    assert measured[1:] == pytest.approx(expected, rel=1e-4)


def test_padding_counts_for_no_ratio():
    a = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    b = torch.tensor([[0.0, 10.0], [0.0, 0.0]])
    assert tensor_tools.magnitude_ratio((b,), (a,)).item() == pytest.approx(2)


class Attention(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale
        self.calls = 0

    def forward(self, x, source):
        self.calls += 1
        return self.scale * torch.tanh(x + source)


class Attentive(nn.Module):
    """Blocks of two attentions, added to x."""

    def __init__(self, depth=2):
        super().__init__()
        self.self_attn = nn.ModuleList(Attention(0.3 + 0.1 * i) for i in range(depth))
        self.cross_attn = nn.ModuleList(Attention(0.2 - 0.1 * i) for i in range(depth))

    def forward(self, x, t, context=0):
        for own, cross in zip(self.self_attn, self.cross_attn, strict=True):
            x = x + own(x, t) * (1 + t)
            x = x + cross(x, source=t - context)
        return x


RANGES, WINDOW = {"self": 2, "cross": 4}, (100, 800)


def attentive_site(model):
    return AttentionSite(model, {"self": model.self_attn, "cross": model.cross_attn})


@pytest.mark.parametrize("branches", [1, 2])
def test_pab_uses_attention_outputs_again(branches):
    ts = [1000 * t for t in timesteps(STEPS)]
    model, session = Attentive(), Session(PyramidAttentionBroadcast(RANGES, WINDOW), STEPS)
    made, kept = [], []
    with attach(attentive_site(model), session):
        for t in ts:
            for b in range(branches):
                made.append(model(noise(), torch.tensor(t), context=b))
            kept.append(session.cache_bytes // (24 * 4))
    reused = oracles.pab(STEPS, ts, RANGES, WINDOW)
    assert [record.decision.reuse for record in session.records] == reused
    assert {("self",), ("cross",), ("self", "cross"), ()} >= set(reused) > {()}
    assert all(record.computed for record in session.records)

    plain, expected, last = Attentive(), [], {}
    for t, kinds in zip(ts, reused, strict=True):
        for b in range(branches):
            x = noise()
            for i in range(2):
                if "self" not in kinds:
                    last["self", i, b] = plain.self_attn[i](x, torch.tensor(t))
                x = x + last["self", i, b] * (1 + t)
                if "cross" not in kinds:
                    last["cross", i, b] = plain.cross_attn[i](x, torch.tensor(t) - b)
                x = x + last["cross", i, b]
            expected.append(x)
    assert_near(made, expected)
    saved = 2 * branches * sum(len(kinds) for kinds in reused)
    assert session.parts.calls_saved == saved
    assert session.parts.calls == 4 * branches * STEPS - saved
    ran = sum(module.calls for module in [*model.self_attn, *model.cross_attn])
    assert ran == session.parts.calls
    assert session.transformer_calls == branches * STEPS
    assert kept[0] == 4 * branches
    inside = [WINDOW[0] < int(t) < WINDOW[1] for t in ts]
    last = max(i for i, one in enumerate(inside) if one)
    for i, count in enumerate(kept):
        assert count == 2 * branches * sum((i + 1) % n > 0 and i <= last for n in RANGES.values())
    assert session.peak_cache_bytes == 4 * branches * 24 * 4
    assert session.cache_bytes == 0


def test_pab_keeps_nothing_that_always_runs():
    model, session = Attentive(), Session(PyramidAttentionBroadcast({"self": 1, "cross": 2}), 3)
    with attach(attentive_site(model), session):
        model(noise(), torch.tensor(700.0))
        assert session.cache_bytes == 2 * 24 * 4


def test_pab_leaves_attentions_outside_the_model_alone():
    model, session = Attentive(), Session(PyramidAttentionBroadcast({"self": 4}, (0, 1000)), STEPS)
    with attach(attentive_site(model), session):
        for t in (900.0, 800.0):
            model(noise(), torch.tensor(t))
            x = noise(1)
            assert torch.equal(model.self_attn[0](x, 0.5), 0.3 * torch.tanh(x + 0.5))
        assert bound_to(model.cross_attn[0]) is None
        assert model(noise(size=48), torch.tensor(700.0)).shape == (48,), "another shape runs"
    assert session.records[2].decision.reuse == ("self",)
    assert session.parts.calls_saved == 2


def test_pab_with_a_kind_the_model_lacks():
    session = Session(PyramidAttentionBroadcast({"temporal": 2}), STEPS)
    with (
        pytest.raises(SiteError, match="self, cross, found temporal"),
        attach(attentive_site(Attentive()), session),
    ):
        pass


def test_a_skipping_method_on_attentions_is_named():
    session = Session(TaylorSeer(1, 5, 0), STEPS)
    with (
        pytest.raises(SiteError, match="works on attentions, found taylorseer"),
        attach(attentive_site(Attentive()), session),
    ):
        pass


POLICIES = {
    "teacache": lambda: TeaCache(0.5, 1),
    "fbcache": lambda: FirstBlockCache(0.3),
    "magcache": lambda: MagCache(0.2, [0.98] * STEPS),
    "taylorseer": lambda: TaylorSeer(1, 3, 1),
}
REGIONS = {
    "teacache": Region.STACK,
    "fbcache": Region.TAIL,
    "magcache": Region.STACK,
    "taylorseer": Region.OWN,
}


def architecture(model):
    return Architecture(
        model, timestep="timestep", inputs="x", blocks=model.in_order, whole=False, modulation=condition
    )


@pytest.mark.parametrize("name", POLICIES)
def test_attach_leaves_no_trace_and_starts_every_video_anew(name):
    model, session = Stack(), Session(POLICIES[name](), STEPS)
    site = architecture(model).site(REGIONS[name])
    before = [dict(module.__dict__) for module in model.modules()]
    first, _, _ = outputs_of(model, site, session)
    facts = computed_of(session)
    assert False in facts
    second, _, _ = outputs_of(model, site, session)
    assert computed_of(session) == facts
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    after = [dict(module.__dict__) for module in model.modules()]
    for old, new in zip(before, after, strict=True):
        assert {k for k in new if k != "calls"} == {k for k in old if k != "calls"}
    bare = Stack()
    for t in timesteps(STEPS):
        assert torch.equal(model(latents(t), torch.tensor(t)), bare(latents(t), torch.tensor(t)))


@pytest.mark.parametrize("name", POLICIES)
def test_another_shape_within_a_generation_is_computed(name):
    model, session = Stack(), Session(POLICIES[name](), STEPS)
    with attach(architecture(model).site(REGIONS[name]), session):
        for i, t in enumerate(timesteps(STEPS)):
            tokens = 5 if i < 5 else 7
            assert model(latents(t, tokens), torch.tensor(t)).shape == (2, tokens, 8)
    assert session.records[5].computed


@pytest.mark.parametrize("name", POLICIES)
def test_the_device_is_waited_for_once_a_step(name, monkeypatch):
    monkeypatch.setattr(tensor_tools, "reading_is_free", lambda tensor: False)
    reads = []
    original = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: reads.append(1) or original(tensor))
    model, session = Stack(), Session(POLICIES[name](), STEPS)
    counts = []
    with attach(architecture(model).site(REGIONS[name]), session):
        for t in timesteps(STEPS):
            moment = torch.tensor(t)
            for b in range(2):
                model(latents(t), moment, context=b)
            counts.append(len(reads))
            reads.clear()
    assert counts == [1] * STEPS


def test_regions_that_a_model_lacks_are_named():
    model = Stack()
    with pytest.raises(SiteError, match="attentions that are modules, found none"):
        architecture(model).site(Region.ATTENTION)
    bare = Architecture(model, timestep="timestep", inputs="x", blocks=lambda: model.blocks)
    assert isinstance(bare.site(Region.OWN), ForwardSite)
    with pytest.raises(SiteError, match=r"the stack of blocks: .*no attribute 'blocks'"):
        bare.site(Region.STACK)
    with pytest.raises(SiteError, match="more than 1, found 1"):
        StackSite(model, [model.spatial[0]], head=1)


class Double(nn.Module):
    """Two streams, as HunyuanVideo's first blocks have."""

    def forward(self, img, txt, vec):
        return img + 0.1 * torch.tanh(img + txt.mean(1, keepdim=True) + vec), txt + 0.1 * vec


class Single(nn.Module):
    """Both streams in one, as HunyuanVideo's other blocks have."""

    def forward(self, x, vec):
        return x + 0.1 * torch.tanh(x + x.mean(1, keepdim=True) * vec)


class TwoStreams(nn.Module):
    def __init__(self):
        super().__init__()
        self.double_blocks = nn.ModuleList(Double() for _ in range(3))
        self.single_blocks = nn.ModuleList(Single() for _ in range(2))

    def forward(self, x, t):
        img, txt = 2 * x, torch.ones(1, 3, 4)
        for block in self.double_blocks:
            img, txt = block(img, txt, t)
        x = torch.cat((img, txt), 1)
        for block in self.single_blocks:
            x = block(x, t)
        return 0.5 * x[:, : img.shape[1]]


@pytest.mark.parametrize("head", [0, 1])
def test_two_streams(head):
    """Of the second stream nothing is kept: what leaves the stack is the first."""
    model, plain = TwoStreams(), TwoStreams()
    blocks = [*model.double_blocks, *model.single_blocks]
    policy = TaylorSeer(1, 3, 0) if head == 0 else FirstBlockCache(0.4)
    session = Session(policy, STEPS)
    x = noise(size=20).reshape(1, 5, 4)
    site = StackSite(model, blocks, timestep="t", beside="txt", head=head)
    with attach(site, session):
        made = [model(x * (1 + t), torch.tensor(t)) for t in timesteps(STEPS)]
    computed = computed_of(session)
    assert False in computed
    for i, t in enumerate(timesteps(STEPS)):
        exact = plain(x * (1 + t), torch.tensor(t))
        if computed[i]:
            assert torch.equal(made[i], exact)
            start, _ = plain.double_blocks[0](2 * x * (1 + t), torch.ones(1, 3, 4), torch.tensor(t))
            residual = 2 * exact - start
            kept = made[i]
        elif head:
            start, _ = plain.double_blocks[0](2 * x * (1 + t), torch.ones(1, 3, 4), torch.tensor(t))
            assert_near([made[i]], [0.5 * (start + residual)])
        else:
            assert_near([made[i]], [kept])


def test_sampling_with_taylorseer_stays_near():
    """The whole loop: in-place samplers and guidance change nothing that is kept."""
    exact, _ = sample(Tiny(), noise(), timesteps(STEPS), 2)
    session = Session(TaylorSeer(1, 2, 1), STEPS)
    model = Tiny()
    with attach(ForwardSite(model), session):
        made, _ = sample(model, noise(), timesteps(STEPS), 2, in_place=True)
    assert model.calls == 2 * 6
    assert (made - exact).abs().mean() < 0.1 * exact.abs().mean()
