"""The other papers' methods in plans and through the program: presets, refusals, calibration, videos."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from navicache_cli.cache.policies.factory import GENERAL_METHODS, METHOD_SETTINGS, METHODS
from navicache_cli.errors import UsageError
from navicache_cli.media.video import read_video
from navicache_cli.plan.layers import Layer
from navicache_cli.plan.method import about_options, about_steps, policy_for, read_ratios
from navicache_cli.plan.plan import build_plan, resolve
from navicache_cli.plan.presets import OFF, load_presets
from tests.program import invoke, report_in
from tests.tags import read_tags

PROMPT = "a red circle moving right on a dark striped background"
STEPS = 20
PRESETS = load_presets()
PICTURES = {"image": "first.png", "last_image": "last.png"}


def plan_of(**flags):
    return resolve([Layer("--{name}", flags)])


def ratios_file(folder: Path, **changes) -> Path:
    path = folder / "ratios.json"
    path.write_text(json.dumps({"model": "tiny", "ratios": [1.0] + [0.98] * (STEPS - 1), **changes}))
    return path


@pytest.mark.parametrize(
    "model", [name for name, preset in PRESETS.items() if not preset.defaults_in_weights]
)
@pytest.mark.parametrize("mode", ["fast", "mid", "slow"])
def test_every_method_of_every_preset_makes_a_policy(model, mode, tmp_path):
    preset = PRESETS[model]
    for task, spec in preset.tasks.items():
        pictures = dict.fromkeys(spec.get("inputs", []), "picture.png")
        for method in (*GENERAL_METHODS[1:], *preset.methods):
            own = {}
            if method == "magcache" and task in ("flf2v-14B", "t2v-A14B"):
                own["ratios"] = str(ratios_file(tmp_path, model=model))
            plan = plan_of(model=model, task=task, mode=mode, method=method, **pictures, **own)
            assert policy_for(plan).name == method


# As published; the sources are in the presets.
PUBLISHED = [
    (("wan", "t2v-1.3B", "832x480", "fast"), 0.1, "-5.21862437e+04", 0.24, 6, "wan-t2v-1.3B"),
    (("wan", "t2v-1.3B", "832x480", "slow"), 0.05, "-5.21862437e+04", 0.12, 2, "wan-t2v-1.3B"),
    (("wan", "t2v-14B", "1280x720", "fast"), 0.2, "-3.03318725e+05", 0.24, 6, "wan-t2v-14B"),
    (("wan", "t2i-14B", "1024x1024", "slow"), 0.1, "-3.03318725e+05", 0.12, 2, "wan-t2v-14B"),
    (("wan", "i2v-14B", "1280x720", "fast"), 0.3, "8.10705460e+03", 0.24, 6, "wan-i2v-14B-720P"),
    (("wan", "i2v-14B", "832x480", "slow"), 0.2, "2.57151496e+05", 0.12, 2, "wan-i2v-14B-480P"),
    (("wan", "vace-14B", "1280x720", "fast"), 0.1, "", 0.02, 3, "wan-vace-14B"),
    (("hunyuan", "t2v-544p", "960x544", "fast"), 0.15, "7.33226126e+02", 0.24, 6, "hunyuan-544p"),
    (("hunyuan", "t2v-720p", "1280x720", "slow"), 0.1, "7.33226126e+02", 0.12, 4, "hunyuan-720p"),
    (("opensora", "t2v", "480p", "fast"), 0.2, "2.17546007e+02", 0.12, 3, "opensora"),
]


@pytest.mark.parametrize(("where", "tea", "leading", "mag", "most_skips", "ratios"), PUBLISHED)
def test_published_settings(where, tea, leading, mag, most_skips, ratios):
    flags = dict(zip(("model", "task", "size", "mode"), where, strict=True))
    if flags["task"] == "i2v-14B":
        flags["image"] = "picture.png"
    plan = plan_of(**flags, method="teacache")
    assert plan.threshold == tea
    assert plan.settings.coefficients.split(" ")[0] == leading
    assert plan.align_steps == (5 if flags["model"] == "wan" else 1)
    plan = plan_of(**flags, method="magcache")
    assert (plan.threshold, plan.settings.max_skips, plan.settings.retention, plan.settings.ratios) == (
        mag,
        most_skips,
        0.2,
        ratios,
    )
    assert flags["model"] in plan.provenance["ratios"]


def test_settings_come_from_any_layer_and_reach_the_policy(tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("method: pab\nbroadcast: {self: 3, cross: 4}\nwindow: [50, 700]\n")
    policy = policy_for(build_plan({}, ["window=60 700"], config, {}))
    assert (policy.broadcast, policy.window) == ({"self": 3, "cross": 4}, (60, 700))
    plan = build_plan({"method": "taylorseer"}, ["order=2"], None, {"NAVICACHE_INTERVAL": "4"})
    assert (plan.settings.interval, plan.settings.order) == (4, 2)
    assert plan.provenance["interval"] == "environment NAVICACHE_INTERVAL"
    assert plan.provenance["align_steps"] == "preset tiny taylorseer"
    policy = policy_for(plan)
    assert (policy.interval, policy.order, policy.align_steps) == (4, 2, 1)
    plan = plan_of(method="teacache", coefficients="2, 0.5", threshold="0.3")
    assert policy_for(plan).coefficients == (2.0, 0.5)
    assert policy_for(plan).threshold == 0.3


@pytest.mark.parametrize(
    ("flags", "said", "told"),
    [
        ({"model": "hunyuan", "method": "pab"}, "hunyuan offers, found 'pab'", "teacache, magcache"),
        ({"interval": "3"}, "interval expects method taylorseer, found 'navicache'", "--method taylorseer"),
        ({"method": "pab", "max_skips": "3"}, "max-skips expects method magcache", "drop max-skips"),
        (
            {"model": "wan", "task": "flf2v-14B", "method": "magcache", **PICTURES},
            "wan flf2v-14B has none yet",
            "calibrate --model wan --task flf2v-14B --set image=FILE --set last_image=FILE, then",
        ),
        ({"method": "magcache", "ratios": "none.json"}, "none.json: No such file", "calibrate"),
        ({"method": "magcache", "ratios": "wan-t2v-1.3B"}, "of tiny, found those of 'wan'", "calibrate"),
        ({"method": "magcache", "ratios": "../tiny"}, "unknown magnitude ratios '../tiny'", ".json file"),
        ({"method": "taylorseer", "interval": "0"}, "interval to be a whole number", "interval=3"),
        ({"method": "taylorseer", "order": "x"}, "order expects a whole number", "--set order=1"),
        ({"method": "pab", "broadcast": "temporal=2"}, r"has \(self, cross\), found 'temporal'", "self=2"),
        ({"method": "pab", "broadcast": "self"}, "kind=number items", "--set broadcast='self=2 cross=6'"),
        ({"method": "pab", "window": "800"}, "window expects two timesteps", "100 800"),
        ({"method": "pab", "window": "800 100"}, "lower to a higher", "100 800"),
        ({"method": "teacache", "coefficients": "1 x"}, "finite numbers", "--set coefficients='1 0'"),
        ({"method": "magcache", "retention": "2"}, "retention between 0 and 1", ""),
    ],
)
def test_refusals(flags, said, told):
    with pytest.raises(UsageError, match=said) as caught:
        plan_of(**flags)
    assert told in caught.value.hint


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON"),
        ("[1.0]", "list of numbers under 'ratios'"),
        ('{"ratios": []}', "list of numbers"),
        ('{"ratios": ["1"]}', "list of numbers"),
        ('{"ratios": [true]}', "list of numbers"),
        ('{"ratios": [1.0], "model": "wan"}', "of tiny, found those of 'wan'"),
        (" " * 1_000_001, "it is larger"),
    ],
)
def test_files_of_ratios_that_are_none(content, said, tmp_path):
    path = tmp_path / "ratios.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=said):
        read_ratios(path, "tiny")


def test_no_setting_belongs_to_two_methods():
    names = [name for settings in METHOD_SETTINGS.values() for name in settings]
    assert len(names) == len(set(names))


def test_calibrate_measures_what_magcache_then_uses(cli, tmp_path):
    made = cli("calibrate", "--prompt", PROMPT, "--steps", str(STEPS), "-o", "measured/mine.json")
    assert made.returncode == 0, made.stderr
    document = json.loads((tmp_path / "measured/mine.json").read_text())
    assert document["model"] == "tiny"
    assert document["prompt"] == PROMPT
    assert document["weights"].startswith("sha256:")
    ratios = document["ratios"]
    assert len(ratios) == document["steps"] == STEPS
    assert ratios[0] == 1.0
    assert all(0.1 < ratio < 5 for ratio in ratios)
    assert len(set(ratios)) > STEPS // 2
    again = cli("calibrate", "--steps", str(STEPS), "-o", "measured/mine.json")
    assert again.returncode == 6
    assert "--overwrite" in again.stderr
    assert generated(cli, tmp_path, "magcache", "--set", "ratios=measured/mine.json", "--threshold", "0.9")


def test_magcache_works_on_tiny_as_shipped():
    """`navicache calibrate --model tiny -o presets/magcache-tiny.json --overwrite` recorded its ratios."""
    plan = plan_of(method="magcache")
    assert plan.settings.ratios == "tiny"
    assert len(policy_for(plan).ratios) == plan.steps == 50


def generated(cli, folder, method, *arguments):
    """Generate, check video and report, and return the report."""
    done = cli(
        "generate", "--prompt", PROMPT, "--steps", str(STEPS), "--method", method, "-o", f"{method}.mp4",
        "--baseline", *arguments,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    frames, _ = read_video(folder / f"{method}.mp4")
    assert frames.shape == (17, 64, 64, 3)
    assert f"Cache: {method}" in read_tags(folder / f"{method}.mp4")["comment"]
    report = report_in(folder / f"{method}.json")
    assert report["plan"]["method"]["value"] == method
    assert report["baseline"]["psnr"] > 12
    totals = report["totals"]
    assert totals["cache_bytes"] > 0
    if method == "pab":
        assert totals["attention_calls_saved"] > 0
        assert "outputs reused" in done.stdout
        assert any(step["reused"] for step in report["steps"])
        assert totals["skipped_steps"] == 0
    else:
        assert 0 < totals["skipped_steps"] < STEPS
        assert totals["transformer_calls_saved"] == 2 * totals["skipped_steps"]
        assert totals["attention_calls"] == 0
    return report


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("teacache", ()),
        ("taylorseer", ()),
        ("fbcache", ("--threshold", "0.3")),
        ("pab", ()),
    ],
)
def test_a_video_by_each_method(method, arguments, cli, tmp_path):
    report = generated(cli, tmp_path, method, *arguments)
    if method == "taylorseer":
        computed = [step["computed"] for step in report["steps"]]
        assert computed == [i % 3 == 0 for i in range(STEPS)]
    if method == "teacache":
        assert all(step["forced"] for step in report["steps"][:5])
        assert report["steps"][5]["predicted_change"] > 0


def test_a_method_that_is_not_offered_exits_with_2(cli):
    done = cli("generate", "--model", "hunyuan", "--method", "pab", "--dry-run")
    assert done.returncode == 2
    assert "hunyuan offers off, navicache, easycache, teacache" in done.stderr


def test_presets_name_the_methods(cli):
    done = cli("presets", "--model", "tiny")
    assert "teacache, magcache, pab, fbcache, taylorseer" in done.stdout


FEW = "steps are few for a cache"
NOTHING = "leave nothing to skip"


@pytest.mark.parametrize("steps", [4, 8, 12])
@pytest.mark.parametrize(
    "changes", [{"method": method} for method in METHODS] + [{"speedup": "1.25"}], ids=str
)
def test_few_steps_are_said_whatever_the_method(changes, steps):
    mode = "off" if changes.get("method") == OFF else "fast"
    (told,) = about_steps(plan_of(mode=mode, steps=str(steps), align_steps="2", **changes)) or [""]
    assert (FEW in told) == (mode != OFF)
    assert ("--steps" in told) == (mode != OFF), "what to do instead"


def test_enough_steps_are_not_remarked_on():
    for method in METHODS:
        mode = "off" if method == OFF else "fast"
        assert about_steps(plan_of(mode=mode, method=method, steps="13")) == []
    assert NOTHING in about_steps(plan_of(steps="11"))[0]
    assert NOTHING in about_steps(plan_of(steps="30", align_steps="29"))[0]


@pytest.mark.parametrize(
    ("flags", "idle"),
    [
        ({}, []),
        ({"estimator": "dual", "threshold": "0.1", "align_steps": "5"}, []),
        ({"method": "easycache", "estimator": "dual"}, ["estimator has no effect with method easycache"]),
        ({"method": "taylorseer", "threshold": "0.1"}, ["threshold has no effect with method taylorseer"]),
        ({"method": "magcache", "align_steps": "3"}, ["align-steps has no effect with method magcache"]),
        (
            {"method": "pab", "threshold": "0.1", "align_steps": "3", "estimator": "dual"},
            ["threshold", "align", "est"],
        ),
        ({"mode": "off", "predictor": "hold", "max_error": "0.1"}, ["predictor has", "max-error has"]),
        ({"mode": "slow", "speedup": "2"}, ["mode has no effect with speedup"]),
        ({"mode": "slow", "compute": "0.5"}, ["mode has no effect with compute"]),
    ],
)
def test_options_that_do_nothing_are_said(flags, idle):
    told = about_options(plan_of(**flags))
    assert len(told) == len(idle)
    assert all(note.startswith(start) for note, start in zip(told, idle, strict=True))


def test_reports_of_few_steps_say_so(tmp_path):
    """By generate, batch and compare; on the terminal too."""
    few = ("--steps", 4, "--prompt", PROMPT)
    invoke("generate", *few, "--method", "magcache", "--estimator", "dual", "-o", tmp_path / "one.mp4")
    one = " ".join(report_in(tmp_path / "one.json")["notes"])
    assert FEW in one
    assert "estimator has no effect" in one
    (tmp_path / "prompts.txt").write_text(PROMPT)
    options = ("--steps", 4, "--method", "taylorseer", "--output-dir", tmp_path / "many")
    invoke("batch", tmp_path / "prompts.txt", *options)
    (many,) = (tmp_path / "many" / "reports").glob("*.json")
    assert FEW in " ".join(report_in(many)["notes"])
    invoke(
        "compare", *few, "--methods", "taylorseer,navicache", "--no-page", "--output-dir", tmp_path / "all"
    )
    notes = json.loads((tmp_path / "all" / "compare.json").read_text())["notes"]
    assert [sum(text in note for note in notes) for text in (FEW, NOTHING)] == [1, 1], notes
