"""Several models under one session, for methods that work inside them: nothing kept serves another model."""

from __future__ import annotations

import pytest
import torch
from test_peer_sites import POLICIES, REGIONS, Attentive, architecture
from toys import Stack, timesteps

from navicache_cli.cache import (
    AttentionSite,
    MagCache,
    ModelsSite,
    PyramidAttentionBroadcast,
    Session,
    attach,
)
from navicache_cli.cache.policies.policy import Region


def generated(session, site, models, schedule):
    """Let the models take over from each other in the middle, on the same latents at each step."""
    middle = len(schedule) // 2
    with attach(site, session):
        for i, t in enumerate(schedule):
            x = torch.randn(4, 24, generator=torch.Generator().manual_seed(1)) * (1 + t)
            models[i >= middle](x, torch.tensor(t))
    return session.records, middle


@pytest.mark.parametrize("name", POLICIES)
def test_stacks_of_several_models(name):
    models = [Stack(), Stack()]
    sites = {f"model {k}": architecture(model).site(REGIONS[name]) for k, model in enumerate(models)}
    session = Session(POLICIES[name](), 12)
    records, middle = generated(session, ModelsSite(sites), models, timesteps(12))
    assert records[middle].computed
    assert records[middle].model != records[middle - 1].model
    assert any(not record.computed for record in records[:middle])
    assert any(not record.computed for record in records[middle:])


def test_an_error_added_up_for_one_model_is_none_of_the_next():
    """MagCache would skip the step where another model takes over; it has to be computed."""
    models = [Stack(), Stack()]
    sites = {f"model {k}": architecture(model).site(Region.STACK) for k, model in enumerate(models)}
    session = Session(MagCache(10.0, [0.9] * 12, max_skips=99, retention=0.0), 12)
    records, middle = generated(session, ModelsSite(sites), models, timesteps(12))
    assert [record.computed for record in records] == [i in (0, middle) for i in range(12)]
    errors = [record.decision.accumulated_error for record in records]
    assert errors[middle + 1 :] == errors[1:middle]


def test_attentions_of_several_models():
    models = [Attentive(), Attentive()]
    sites = {f"model {k}": AttentionSite(model, {"self": model.self_attn}) for k, model in enumerate(models)}
    session = Session(PyramidAttentionBroadcast({"self": 12}, (0, 1000)), 12)
    records, middle = generated(session, ModelsSite(sites), models, [1000 * t for t in timesteps(12)])
    assert records[middle].decision.reuse == (), "nothing of the other model is used again"
    ran = [sum(not record.decision.reuse for record in half) for half in (records[:middle], records[middle:])]
    assert [model.self_attn[0].calls for model in models] == ran
    assert session.parts.calls == 2 * sum(ran)
    assert session.peak_cache_bytes == 2 * 4 * 24 * 4, "what the first kept is dropped"
