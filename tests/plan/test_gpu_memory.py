"""What is said of GPU memory before anything is loaded."""

from __future__ import annotations

import json

import pytest

from navicache_cli.errors import OutOfMemoryError
from navicache_cli.plan.memory import (
    changes,
    check_memory,
    estimate,
    known_models,
    less_cache,
    memory_file,
    plan_without_pictures,
)
from navicache_cli.plan.presets import load_presets

WITHOUT_RATIOS = {"flf2v-14B", "t2v-A14B"}


def plan_of(task="t2v-14B", model="wan", settings=(), **options):
    return plan_without_pictures({"model": model, "task": task, **options}, [*settings], None, {})


def peak_of(*arguments, **options):
    return estimate(plan_of(*arguments, **options)).peak


def test_the_makers_own_figures():
    """Wan2.1's README, on one GPU with offloading: the 1.3B with T5 on the CPU, the others at 720p."""
    assert peak_of("t2v-1.3B", mode="off", t5_cpu=True) == pytest.approx(8.19, abs=0.5)
    assert peak_of("t2v-14B", mode="off") == pytest.approx(69.1, abs=0.3)
    assert peak_of("i2v-14B", mode="off") == pytest.approx(76.7, abs=0.5)


def test_the_makers_own_figures_of_wan22():
    """Its README, on one GPU, as for Wan2.1; the 5B at 720p with T5 on the CPU."""
    assert peak_of("t2v-A14B", "wan2.2", mode="off") == pytest.approx(59.8, abs=0.3)
    assert peak_of("t2v-A14B", "wan2.2", mode="off", size="832x480") == pytest.approx(41.3, abs=0.3)
    assert peak_of("i2v-A14B", "wan2.2", mode="off") == pytest.approx(59.7, abs=0.3)
    assert peak_of("ti2v-5B", "wan2.2", mode="off", t5_cpu=True) == pytest.approx(22.9, abs=0.8)


def test_hunyuan_leaves_only_the_transformer_on_the_gpu():
    """Its README, 45 GB at 544p: by --use-cpu-offload, which is in all its examples."""
    plan = plan_of("t2v-544p", "hunyuan", mode="off", offload=True)
    assert estimate(plan).peak * 2**30 / 1e9 == pytest.approx(45, abs=0.5)
    for stage in estimate(plan).stages.values():
        assert set(stage.weights) == {"transformer"}
    assert peak_of("t2v-544p", "hunyuan", mode="off") > estimate(plan).peak + 14


@pytest.mark.parametrize("model", known_models())
def test_every_placement_has_figures(model):
    """Whatever `navicache memory` offers for less memory, of every task."""
    for task in json.loads(memory_file(model).read_text())["tasks"]:
        plan = plan_of(task, model, mode="off")
        for other in [plan, *changes(plan).values()]:
            assert estimate(other) is not None


@pytest.mark.parametrize("model", known_models())
def test_every_task_and_method_has_figures(model):
    preset = load_presets()[model]
    for task in json.loads(memory_file(model).read_text())["tasks"]:
        off = peak_of(task, model, mode="off")
        for method in ("navicache", "easycache", *preset.methods):
            if method == "magcache" and task in WITHOUT_RATIOS:
                continue
            found = estimate(plan_of(task, model, method=method))
            assert found.cache > 0
            assert found.peak >= off
        for predictor in ("hold", "calibrated"):
            assert estimate(plan_of(task, model, predictor=predictor)).cache > 0


def test_what_caches_keep():
    kept = {
        method: estimate(plan_of("i2v-14B", method=method)).cache
        for method in ("navicache", "teacache", "magcache", "fbcache", "pab")
    }
    assert kept["navicache"] < 0.1
    assert estimate(plan_of("i2v-14B", predictor="calibrated")).cache == pytest.approx(0.16, abs=0.03)
    assert kept["teacache"] == pytest.approx(2.9, abs=0.1)
    assert kept["magcache"] == pytest.approx(2.9, abs=0.1)
    assert kept["fbcache"] == pytest.approx(4.3, abs=0.1)
    assert kept["pab"] == pytest.approx(115.3, abs=0.5)
    assert estimate(plan_of("t2v-1.3B", method="pab")).cache == pytest.approx(11.2, abs=0.2)
    half = plan_of("t2v-1.3B", method="pab", settings=["broadcast=self=2 cross=1"])
    assert estimate(half).cache == pytest.approx(5.6, abs=0.1)


def test_more_pixels_more_frames_and_fewer_parts_moved_away_take_more():
    assert peak_of(mode="off") > peak_of(mode="off", size="832x480")
    assert peak_of(mode="off") > peak_of(mode="off", frames="17")
    assert peak_of("t2v-1.3B", offload=False) > peak_of("t2v-1.3B") > peak_of("t2v-1.3B", t5_cpu=True)


def test_nothing_is_said_of_what_was_not_measured():
    assert estimate(plan_of("t2v", "tiny")) is None
    assert estimate(plan_of(ulysses="2", offload=False)) is None
    assert check_memory(plan_of("t2v", "tiny"), 1.0) == []


def test_a_cache_that_cannot_fit_is_refused():
    plan = plan_of(method="pab")
    with pytest.raises(OutOfMemoryError, match=r"cache of pab 115\.\d.*80\.0") as refused:
        check_memory(plan, 80.0)
    assert refused.value.hint.startswith("--method navicache, which keeps 0.0")
    assert check_memory(plan_of(), 80.0) == []
    assert less_cache(plan_of()) == ""


def test_a_model_that_will_hardly_fit_is_noted():
    (note,) = check_memory(plan_of(), 24.0)
    assert "may run out of memory: about 69." in note
    assert "navicache memory --model wan --task t2v-14B" in note


def test_what_would_take_less():
    others = changes(plan_of(method="fbcache", offload=False))
    assert set(others) == {
        "--offload",
        "--t5-cpu",
        "--offload --t5-cpu",
        "--method navicache",
        "--size 832x480",
        "--size 480x832",
    }
    most = peak_of(method="fbcache", offload=False)
    assert all(estimate(other).peak < most for other in others.values())
