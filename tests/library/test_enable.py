"""`navicache.enable` on pipelines of diffusers: what it saves, what it tells, and what it refuses."""

from __future__ import annotations

import gc
import subprocess
import sys
import warnings

import diffusers
import pytest
import torch

import navicache
from navicache.log import KEPT
from navicache_cli.plan.presets import preset_for
from navicache_cli.report.schemas import read_schema
from tests.library.pipelines.table import ROW, WAN, latents, make
from tests.library.pipelines.toy import Count, run

TOYS = [ROW[name] for name in ("wan", "wan22", "ltx", "ltx2", "latte", "flux", "wan_v2v", "skyreels_v2_df")]
each = pytest.mark.parametrize("toy", TOYS, ids=str)


def traces(pipe):
    """What a cache has put on a pipeline, its scheduler and its models."""
    models = [one for name, one in pipe.components.items() if name.startswith("transformer") and one]
    names = ("_compiled_call_impl", "cache_context", "forward")
    found = [f"{type(one).__name__}.{name}" for one in models for name in names if name in one.__dict__]
    return found + [one for one in (pipe, pipe.scheduler) if "_navicache_mark" in vars(type(one))]


@each
def test_half_the_steps_run_and_nothing_stays(toy):
    pipe = make(toy)
    plain = run(toy, pipe)
    with navicache.cached(pipe, speedup=2) as cache:
        with Count(pipe) as first:
            made = run(toy, pipe)
        assert torch.equal(run(toy, pipe), made), "a second call is the first again"
    (loop,) = cache.report().loops
    assert loop.totals.skipped_steps == loop.totals.steps // 2
    assert loop.totals.transformer_calls_saved > 0
    assert not torch.equal(made, plain)
    assert (made - plain).abs().mean() < 0.3 * plain.abs().mean()
    assert traces(pipe) == []
    with Count(pipe) as after:
        assert torch.equal(run(toy, pipe), plain)
    assert first.runs == after.runs // 2


@each
def test_off_is_the_bare_pipeline(toy):
    pipe = make(toy)
    plain = run(toy, pipe)
    with navicache.cached(pipe, mode="off") as cache:
        assert torch.equal(run(toy, pipe), plain)
    assert cache.report().skipped_steps == 0 < cache.report().steps


def test_it_stays_on_until_disabled():
    pipe = make()
    cache = navicache.enable(pipe)
    latents(pipe)
    latents(pipe)
    assert [report.skipped_steps for report in cache.reports] == [4, 4]
    navicache.disable(pipe)
    assert not cache.enabled
    assert traces(pipe) == []
    latents(pipe)
    assert len(cache.reports) == 2
    assert "4 of 8 steps skipped" in repr(cache)


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"num_inference_steps": 10}, 10),
        ({"num_inference_steps": 25}, 25),
        ({"height": 32}, 8),
        ({"guidance_scale": 1.0}, 8),
        ({"prompt": ["a", "b"], "negative_prompt": ["c", "d"]}, 8),
        ({"num_videos_per_prompt": 2}, 8),
    ],
    ids=lambda changes: next(iter(changes)) if isinstance(changes, dict) else "",
)
def test_each_call_is_one_of_its_own(changes, steps):
    pipe = make()
    with navicache.cached(pipe) as cache:
        first = latents(pipe)
        latents(pipe, **changes)
        assert torch.equal(latents(pipe), first)
    (loop,) = cache.reports[1].loops
    assert loop.planned_steps == len(loop.steps) == steps
    assert loop.totals.computed_steps == (steps + 1) // 2


def test_the_scheduler_tells_steps_and_times():
    pipe = make(ROW["wan_v2v"])
    with navicache.cached(pipe) as cache:
        latents(pipe, ROW["wan_v2v"], steps=20, strength=0.6)
    (loop,) = cache.report().loops
    assert [step.timestep for step in loop.steps] == pipe.scheduler.timesteps.tolist()[8:]
    assert loop.totals.computed_steps == 6


# x_c, y_c, y_p and x_{i-1} are in half precision. Errors to correct and the sum of a run's predictions are
# float32, twice as large; only where a run begins before all of an error is corrected are both there at once.
@pytest.mark.parametrize(("align_steps", "most"), [(3, 6), (5, 8)])
def test_steps_that_a_half_precision_merges_are_steps(align_steps, most):
    """In bfloat16 Mochi's 50 steps have 31 timesteps."""
    toy = ROW["mochi"]
    pipe = make(toy).to(torch.bfloat16)
    with navicache.cached(pipe, align_steps=align_steps, speedup=2) as cache:
        latents(pipe, toy, steps=50)
    (loop,) = cache.report().loops
    assert (loop.totals.steps, loop.totals.computed_steps, loop.totals.transformer_calls) == (50, 25, 25)
    assert loop.totals.cache_tensors <= most


def test_frames_at_times_of_their_own_share_steps():
    """Asynchronous diffusion forcing: every frame has its own scheduler, a copy of the pipeline's."""
    toy = ROW["skyreels_v2_df"]
    pipe = make(toy)
    with navicache.cached(pipe) as cache:
        latents(pipe, toy, num_frames=17, base_num_frames=17, ar_step=2, causal_block_size=1)
    (loop,) = cache.report().loops
    assert (loop.totals.steps, loop.totals.computed_steps) == (pipe.num_timesteps, 8)
    assert loop.totals.cache_tensors < 12


def test_a_call_may_have_several_loops():
    toy = ROW["skyreels_v2_df"]
    pipe = make(toy)
    with navicache.cached(pipe) as cache:
        latents(pipe, toy, num_frames=17, base_num_frames=9, overlap_history=5)
    assert [loop.totals.computed_steps for loop in cache.report().loops] == [4, 4, 4]
    assert "loop 3 of 3" in str(cache.report())


def test_experts_share_a_budget():
    toy = ROW["wan22"]
    pipe = make(toy)
    with navicache.cached(pipe) as cache:
        latents(pipe, toy, steps=24)
    (loop,) = cache.report().loops
    assert loop.totals.computed_steps == 12
    switch = loop.models.index("transformer_2")
    assert loop.models == ["transformer"] * switch + ["transformer_2"] * (24 - switch)
    assert loop.steps[switch].computed
    assert loop.totals.cache_tensors < 12
    assert loop.marks("transformer")[switch:].isspace()
    assert "transformer_2" in str(loop)


def test_nothing_is_kept_while_the_video_is_decoded():
    pipe = make()
    held = []
    with navicache.cached(pipe) as cache:
        decode, site = pipe.vae.decode, cache._site

        def watched(*args, **kwargs):
            held.append(site._loop.session.cache_bytes)
            return decode(*args, **kwargs)

        pipe.vae.decode = watched
        run(WAN, pipe)
    assert held == [0]


def test_reports_hold_no_tensors_and_are_as_many_as_is_said():
    pipe = make()
    with navicache.cached(pipe) as cache:
        latents(pipe)
        gc.collect()
        before = sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())
        for _ in range(3):
            latents(pipe)
        gc.collect()
        assert sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects()) <= before + 2
        for _ in range(KEPT):
            cache._log.reports.append(cache.report())
        assert len(cache.reports) == KEPT == 100


def test_a_report_has_the_keys_of_the_command_line():
    pipe = make()
    with navicache.cached(pipe) as cache:
        latents(pipe)
    (loop,) = cache.report().to_json()["loops"]
    document = read_schema("report")
    for part, found in (("totals", loop["totals"]), ("steps", loop["steps"][0])):
        known = document["properties"][part]
        known = known.get("items", known)
        known = document["$defs"][known["$ref"].rpartition("/")[2]] if "$ref" in known else known
        assert set(found) <= set(known["properties"])
        assert set(known["required"]) <= set(found)
    text = str(cache.report())
    assert "██░░█░░█" in text
    assert "expected error" in text
    assert loop["seconds"] > sum(step["seconds"] for step in loop["steps"]) > 0


def test_an_error_or_an_interruption_leaves_the_next_call_as_it_was():
    pipe = make()

    def stop(pipe, i, t, given):
        if i == 4:
            raise ValueError("stop")
        return given

    def interrupt(pipe, i, t, given):
        pipe._interrupt = i >= 4
        return given

    with navicache.cached(pipe) as cache:
        first = latents(pipe)
        with pytest.raises(ValueError, match="stop"):
            latents(pipe, callback_on_step_end=stop)
        assert torch.equal(latents(pipe), first)
        latents(pipe, callback_on_step_end=interrupt)
        assert torch.equal(latents(pipe), first)
    assert [report.steps for report in cache.reports] == [8, 8, 5, 8]
    assert traces(pipe) == []


def test_it_may_be_disabled_during_a_call():
    pipe = make()
    plain = latents(pipe)

    def disable(pipe, i, t, given):
        if i == 4:
            navicache.disable(pipe)
            assert traces(pipe) == []
        return given

    cache = navicache.enable(pipe)
    with warnings.catch_warnings():
        warnings.simplefilter("error", navicache.NavicacheWarning)
        latents(pipe, callback_on_step_end=disable)
    assert cache.reports == []
    assert torch.equal(latents(pipe), plain)


def test_a_scheduler_or_a_model_may_be_replaced():
    pipe, other = make(), make()
    with navicache.cached(pipe) as cache:
        first = latents(pipe)
        old = pipe.scheduler
        pipe.scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_config(old.config)
        pipe.transformer = other.transformer
        assert torch.equal(latents(pipe), first)
        assert "_navicache_mark" not in vars(type(old))
    assert [report.skipped_steps for report in cache.reports] == [4, 4]
    assert traces(pipe) == traces(other) == []


def test_a_loop_of_ones_own_is_cached_too():
    pipe = make()
    pipe.transformer.eval()
    with torch.no_grad(), navicache.cached(pipe) as cache:
        latents(pipe, steps=24)
        x, text = torch.randn(1, 16, 3, 2, 2), torch.randn(1, 8, 32)
        pipe.scheduler.set_timesteps(10)
        for t in pipe.scheduler.timesteps:
            y = pipe.transformer(x, t[None], text).sample
            x = pipe.scheduler.step(y, t, x).prev_sample
    assert [report.skipped_steps for report in cache.reports] == [12, 5]


def test_a_skipped_call_has_the_form_it_asks_for():
    pipe = make()
    with torch.no_grad(), navicache.cached(pipe, threshold=1e9, align_steps=3) as cache:
        x, text, forms = torch.randn(1, 16, 3, 2, 2), torch.randn(1, 8, 32), []
        pipe.scheduler.set_timesteps(9)
        for i, t in enumerate(pipe.scheduler.timesteps):
            made = pipe.transformer(x, t[None], text, return_dict=i in (4, 6))
            forms.append(type(made))
            x = pipe.scheduler.step(made[0], t, x).prev_sample
    output = diffusers.models.modeling_outputs.Transformer2DModelOutput
    assert forms == [output if i in (4, 6) else tuple for i in range(9)]
    # The first that asks for another form shows which that is.
    assert cache.report().loops[0].marks() == "███░█░░░█"


def test_a_call_that_the_cache_does_not_see_is_told():
    pipe = make()
    kept = pipe.transformer.forward
    with navicache.cached(pipe) as cache:
        set_timesteps = type(pipe.scheduler).__mro__[1].set_timesteps
        pipe.scheduler.set_timesteps = set_timesteps.__get__(pipe.scheduler)  # around the cache
        with pytest.warns(navicache.NavicacheWarning, match="saw nothing of this call: its scheduler"):
            latents(pipe)
        assert cache.report().loops == []
        assert "saw nothing" in cache.reports[-1].notes[0]
    assert pipe.transformer.forward == kept


def test_a_budget_out_of_reach_is_told_and_as_near_as_can_be():
    pipe = make()
    with navicache.cached(pipe, speedup=4) as cache:
        with pytest.warns(navicache.NavicacheWarning, match="8 steps cannot be made 4x faster"):
            latents(pipe)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            latents(pipe, steps=20)
    assert [report.steps - report.skipped_steps for report in cache.reports] == [3, 5]
    assert len(cache.reports[0].notes) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"speedup": 0.5}, "speedup expects 1 or more, found 0.5"),
        ({"speedup": "2"}, "speedup expects a number"),
        ({"compute": True}, "compute expects a number"),
        ({"compute": 2}, "compute expects above 0, at most 1"),
        ({"threshold": float("nan")}, "a finite threshold"),
        ({"max_error": 0}, "max_error expects more than 0"),
        ({"align_steps": -1}, "align_steps to be a whole number"),
        ({"speedup": 2, "threshold": 0.1}, "found speedup and threshold"),
        ({"speedup": 2, "mode": "fast"}, "expected speedup or mode, found both"),
        ({"mode": "fast"}, "published modes .* found WanTransformer3DModel of another size"),
        ({"method": "teacache"}, "a method that fits any model"),
        ({"method": "best"}, "method expects one of"),
        ({"method": "off", "speedup": 2}, "speedup expects a method that skips"),
        ({"predictor": "best"}, "predictor expects one of residual, hold, calibrated"),
        ({"estimator": "best"}, "estimator expects one of"),
        ({"steps": 8}, "steps expects a model by itself"),
    ],
)
def test_wrong_arguments_are_named_and_nothing_stays(settings, message):
    pipe = make()
    with pytest.raises(navicache.UsageError, match=message) as raised:
        navicache.enable(pipe, **settings)
    assert raised.value.hint
    assert traces(pipe) == []


@pytest.mark.parametrize("target", [3, None, "wan", [1]])
def test_what_is_no_pipeline_is_named(target):
    with pytest.raises(navicache.UsageError, match="expected a pipeline of diffusers or a torch module"):
        navicache.enable(target)


def test_two_caches_on_one_pipeline_are_refused():
    pipe, other = make(), make()
    other.transformer = pipe.transformer
    navicache.enable(pipe)
    for again in (pipe, other):
        with pytest.raises(navicache.SiteError, match="without a cache"):
            navicache.enable(again)
    assert "_navicache_mark" not in vars(type(other.scheduler))
    navicache.disable(pipe)
    with pytest.raises(navicache.UsageError, match="WanPipeline with a cache enabled, found none"):
        navicache.disable(pipe)
    with navicache.cached(other):
        latents(other)


def test_modes_are_those_of_the_preset():
    pipe = make()
    pipe.transformer.register_to_config(num_layers=30, num_attention_heads=12)
    preset = preset_for("wan")
    with navicache.cached(pipe, mode="mid") as cache:
        settings = cache._settings
        assert settings.threshold == preset.modes["mid"]["threshold"]
        assert settings.align_steps == preset.defaults["align_steps"]
        assert settings.predictor == "residual"
    with pytest.raises(navicache.UsageError, match="mode of fast, mid, slow, off, found 'quick'"):
        navicache.enable(pipe, mode="quick")


def test_a_bound_of_the_error_holds():
    pipe = make()
    with navicache.cached(pipe, speedup=2, max_error=1e-6) as cache:
        latents(pipe, steps=20)
    (loop,) = cache.report().loops
    assert any(step.stopped for step in loop.steps)
    assert loop.totals.computed_steps > 10


def test_importing_it_is_light_and_all_is_there():
    code = "import sys, navicache; assert 'torch' not in sys.modules; print(*navicache.__all__)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert {"enable", "disable", "cached"} < set(told.split())
    assert all(getattr(navicache, name) is not None for name in navicache.__all__)
    with pytest.raises(AttributeError, match="no attribute 'speed'"):
        _ = navicache.speed
