"""What else is done to a pipeline's models while a cache is on: compiling, offloading, hooks, copies."""

from __future__ import annotations

import copy
import pickle
import warnings

import diffusers
import pytest
import torch
from accelerate.hooks import CpuOffload, add_hook_to_module, remove_hook_from_module
from torch import nn

import navicache
from tests.library.pipelines.table import latents, make

WHEN = pytest.mark.parametrize("when", ["before", "inside"])


@pytest.fixture(autouse=True)
def _seen():
    """Every call here is one that the cache has to see."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", navicache.NavicacheWarning)
        yield


@pytest.fixture(scope="module")
def expected():
    """The latents without a cache, and under one."""
    pipe = make()
    plain = latents(pipe)
    with navicache.cached(pipe):
        return plain, latents(pipe)


def assert_undisturbed(pipe, change, when, expected, exact=True):
    """`change` happens before the cache or within it; every call is cached, and afterwards none."""
    plain, halved = expected
    alike = torch.equal if exact else torch.allclose
    if when == "before":
        change(pipe)
    with navicache.cached(pipe) as cache:
        assert alike(latents(pipe), halved)
        if when == "inside":
            change(pipe)
        assert alike(latents(pipe), halved)
        assert alike(latents(pipe), halved), "offloading takes its hooks off and on after each call"
    assert [report.skipped_steps for report in cache.reports] == [4, 4, 4]
    assert alike(latents(pipe), plain)


class Graphs:
    """A compiler that counts the graphs it is given, and leaves them as they are."""

    def __init__(self):
        torch._dynamo.reset()
        self.count = 0

    def __call__(self, graph, inputs):
        self.count += 1
        return graph.forward


@pytest.mark.shows("compile", "import navicache")
@WHEN
@pytest.mark.parametrize("fullgraph", [False, True])
@pytest.mark.parametrize("how", ["wrapped", "in place"])
def test_compiled_models_have_one_graph(how, fullgraph, when, expected):
    """No break and no compilation of ours: one graph, as without a cache."""
    graphs = Graphs()

    def compiled(pipe):
        if how == "wrapped":
            pipe.transformer = torch.compile(pipe.transformer, backend=graphs, fullgraph=fullgraph)
        else:
            pipe.transformer.compile(backend=graphs, fullgraph=fullgraph)

    assert_undisturbed(make(), compiled, when, expected)
    assert graphs.count == 1


@pytest.mark.shows("compile", "import navicache")
@WHEN
def test_compiled_blocks_have_one_graph(when, expected):
    graphs = Graphs()
    assert_undisturbed(
        make(),
        lambda pipe: pipe.transformer.compile_repeated_blocks(backend=graphs, fullgraph=True),
        when,
        expected,
    )
    assert graphs.count == 1


def test_a_model_that_was_compiled_is_not_compiled_again(expected):
    graphs, pipe = Graphs(), make()
    pipe.transformer.compile(backend=graphs, fullgraph=True)
    latents(pipe)
    assert graphs.count == 1
    assert_undisturbed(pipe, lambda _: None, "before", expected)
    assert graphs.count == 1


def model_offload(pipe):
    """As `enable_model_cpu_offload`, which refuses a machine without an accelerator."""

    def free(*_, **__):
        remove_hook_from_module(pipe.transformer)
        add_hook_to_module(pipe.transformer, CpuOffload(torch.device("cpu")))

    free()
    pipe.maybe_free_model_hooks = free


def sequential_offload(pipe):
    """As `enable_sequential_cpu_offload`: hooks on every part."""
    for part in pipe.transformer.modules():
        if list(part.parameters(recurse=False)):
            add_hook_to_module(part, CpuOffload(torch.device("cpu")))


def group_offload(pipe):
    cpu = torch.device("cpu")
    pipe.transformer.enable_group_offload(onload_device=cpu, offload_device=cpu, offload_type="leaf_level")


@pytest.mark.shows("offload", "import navicache")
@WHEN
@pytest.mark.parametrize("change", [model_offload, sequential_offload, group_offload])
def test_offloading(change, when, expected):
    assert_undisturbed(make(), change, when, expected)


def test_a_skipped_call_loads_no_weights():
    pipe, loaded = make(), []

    class Loads(CpuOffload):
        def pre_forward(self, module, *args, **kwargs):
            loaded.append(1)
            return super().pre_forward(module, *args, **kwargs)

    add_hook_to_module(pipe.transformer, Loads(torch.device("cpu")))
    with navicache.cached(pipe) as cache:
        latents(pipe)
    assert len(loaded) == cache.report().loops[0].totals.transformer_calls == 8


@pytest.mark.shows("fp8", "import navicache")
@WHEN
@pytest.mark.parametrize("kept", [torch.bfloat16, torch.float8_e4m3fn], ids=str)
def test_weights_kept_in_another_type(kept, when):
    def cast(pipe):
        pipe.transformer.enable_layerwise_casting(storage_dtype=kept, compute_dtype=torch.float32)

    pipe = make()
    cast(pipe)
    plain = latents(pipe)
    with navicache.cached(pipe):
        halved = latents(pipe)
    other = make()
    if when == "before":
        assert_undisturbed(other, cast, when, (plain, halved))
        return
    with navicache.cached(other) as cache:
        latents(other)
        cast(other)
        assert torch.equal(latents(other), halved)
    assert cache.report().skipped_steps == 4
    assert torch.equal(latents(other), plain)


def test_hooks_put_on_inside_stay_and_those_taken_off_are_gone(expected):
    pipe, calls = make(), []

    class Counts(diffusers.hooks.ModelHook):
        def pre_forward(self, module, *args, **kwargs):
            calls.append(1)
            return args, kwargs

    registry = diffusers.hooks.HookRegistry.check_if_exists_or_initialize(pipe.transformer)
    registry.register_hook(Counts(), "first")
    with navicache.cached(pipe):
        registry.register_hook(Counts(), "second")
        registry.remove_hook("first")
        assert torch.equal(latents(pipe), expected[1])
    assert len(calls) == 8
    assert torch.equal(latents(pipe), expected[0])
    assert len(calls) == 24
    registry.remove_hook("second")
    latents(pipe)
    assert len(calls) == 24


@pytest.mark.shows("LoRA", "import navicache")
@WHEN
def test_lora_weights_and_attention_processors(when):
    from peft import LoraConfig

    def adapt(pipe):
        torch.manual_seed(0)
        config = LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False)
        pipe.transformer.add_adapter(config, adapter_name="one")
        pipe.transformer.set_attn_processor(diffusers.models.transformers.transformer_wan.WanAttnProcessor())

    pipe, other = make(), make()
    adapt(pipe)
    plain = latents(pipe)
    with navicache.cached(pipe):
        halved = latents(pipe)
    if when == "before":
        adapt(other)
    with navicache.cached(other) as cache:
        bare = latents(other)
        if when == "inside":
            assert not torch.allclose(bare, halved)
            adapt(other)
        assert torch.equal(latents(other), halved)
        pipe.transformer.delete_adapters("one")
    assert cache.report().skipped_steps == 4
    assert torch.equal(latents(other), plain)
    assert not torch.equal(latents(pipe), plain)


def test_a_copy_runs_its_own_weights_uncached(expected):
    pipe, other = make(), make()
    with navicache.cached(pipe) as cache:
        twin = copy.deepcopy(pipe.transformer)
        with torch.no_grad():
            for weight in twin.parameters():
                weight.mul_(1.5)
        other.transformer = twin
        changed = latents(other)
        whole = copy.deepcopy(pipe)
        assert torch.equal(latents(whole), expected[0])
        assert cache.reports == []
        assert torch.equal(latents(pipe), expected[1])
        assert type(pickle.loads(pickle.dumps(pipe.scheduler))) is type(other.scheduler)
    assert type(whole.scheduler) is type(pipe.scheduler) is diffusers.FlowMatchEulerDiscreteScheduler
    reference = make()
    with torch.no_grad():
        for weight in reference.transformer.parameters():
            weight.mul_(1.5)
    assert torch.equal(latents(reference), changed)


def test_it_can_be_saved_while_the_cache_is_on(tmp_path, expected):
    pipe = make()
    with navicache.cached(pipe):
        latents(pipe)
        pipe.transformer.save_pretrained(tmp_path / "transformer")
        pipe.scheduler.save_pretrained(tmp_path / "scheduler")
    again = make()
    again.transformer = diffusers.WanTransformer3DModel.from_pretrained(tmp_path / "transformer")
    again.scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_pretrained(tmp_path / "scheduler")
    assert torch.allclose(latents(again), expected[0], atol=1e-5)
    assert not [path for path in tmp_path.rglob("*.json") if "navicache" in path.read_text()]


def first_block(pipe):
    pipe.transformer.enable_cache(diffusers.FirstBlockCacheConfig(threshold=0.1))


def pyramid(pipe):
    """Put on without the model's own `enable_cache`."""
    config = diffusers.PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2,
        spatial_attention_timestep_skip_range=(0, 1000),
        current_timestep_callback=lambda: 500,
    )
    diffusers.hooks.apply_pyramid_attention_broadcast(pipe.transformer, config)


@pytest.mark.parametrize(
    ("other", "name"), [(first_block, "FirstBlockCacheConfig"), (pyramid, "PyramidAttentionBroadcastHook")]
)
def test_another_cache_is_refused_whenever_it_is_put_on(other, name):
    pipe = make()
    with navicache.cached(pipe):
        other(pipe)
        with pytest.raises(navicache.SiteError, match=f"without another cache, found {name}"):
            latents(pipe)
    latents(pipe)
    with pytest.raises(navicache.SiteError, match=f"without another cache, found {name}"):
        navicache.enable(pipe)
    assert "_compiled_call_impl" not in pipe.transformer.__dict__


def test_a_model_with_a_call_of_its_own_is_bound_at_its_forward(expected):
    pipe = make()

    class Own(type(pipe.transformer)):
        def __call__(self, *args, **kwargs):
            return self.forward(*args, **kwargs)

    pipe.transformer.__class__ = Own

    def restored(pipe):
        """As hooks are that put back the forward they found."""
        pipe.transformer.forward = Own.forward.__get__(pipe.transformer)

    assert_undisturbed(pipe, restored, "inside", expected)
    assert isinstance(pipe.transformer, nn.Module)


def test_a_scheduler_made_from_the_one_that_is_watched_is_of_its_own_class(expected):
    pipe = make()
    with navicache.cached(pipe):
        pipe.scheduler = pipe.scheduler.from_config(pipe.scheduler.config)
        twin = type(pipe)(**pipe.components)
        assert type(pipe.scheduler) is diffusers.FlowMatchEulerDiscreteScheduler
        assert torch.equal(latents(pipe), expected[1])
    assert type(twin) is type(pipe) is diffusers.WanPipeline
    with navicache.cached(pipe):
        assert torch.equal(latents(pipe), expected[1])
    assert torch.equal(latents(pipe), expected[0])
