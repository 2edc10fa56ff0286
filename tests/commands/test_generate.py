"""The main job through the real program: video, report, output streams, and every promised failure."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from navicache_cli.media.video import read_video
from tests.conftest import clean_environment
from tests.program import on_a_terminal, report_in
from tests.tags import read_tags

PROMPT = "a red circle moving right on a dark striped background"
QUICK = ("--steps", "14")


def generate(cli, *arguments, **options):
    done = cli("generate", "--prompt", PROMPT, *QUICK, *arguments, **options)
    assert done.returncode == 0, done.stderr
    return done


def leftovers(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_bare_generate_makes_a_video_and_a_report(cli, tmp_path):
    done = cli("generate")
    assert done.returncode == 0, done.stderr
    (video,) = tmp_path.glob("videos/*.mp4")
    frames, fps = read_video(video)
    assert frames.shape == (17, 64, 64, 3)
    assert fps == 8
    assert frames.std() > 10, "a picture, not one colour"
    report = report_in(video.with_suffix(".json"))
    assert report["totals"]["skipped_steps"] > 0
    assert report["plan"]["prompt"] == {"value": PROMPT, "source": "preset tiny"}
    assert "skipped" in done.stdout
    assert "Traceback" not in done.stderr


def test_report_adds_up(cli, tmp_path):
    done = generate(cli, "--json", "--baseline", "--threshold", "0.2", "--align-steps", "4")
    report = json.loads(done.stdout)
    video = Path(tmp_path, report["output"]["path"])
    assert report_in(video.with_suffix(".json")) == report
    import hashlib

    assert hashlib.sha256(video.read_bytes()).hexdigest() == report["output"]["sha256"]
    totals, steps = report["totals"], report["steps"]
    assert [step["index"] for step in steps] == list(range(14))
    computed = [step["computed"] for step in steps]
    assert totals["steps"] == 14
    assert totals["computed_steps"] == sum(computed)
    assert totals["skipped_steps"] == 14 - sum(computed) > 0
    assert totals["skip_ratio"] == totals["skipped_steps"] / 14
    assert totals["compute_ratio"] == pytest.approx(1 - totals["skip_ratio"])
    assert totals["speedup_bound"] == pytest.approx(14 / sum(computed))
    assert totals["transformer_calls"] == 2 * sum(computed)
    assert totals["transformer_calls_saved"] == 2 * (14 - sum(computed))
    assert all(step["forced"] and step["computed"] for step in [*steps[:4], steps[-1]])
    assert all(step["accumulated_error"] < 0.2 for step in steps if not step["computed"])
    # 16 x 5 x 8 x 8 latents in float32; x and y for two branches, and the previous input.
    latent = 16 * 5 * 8 * 8 * 4
    assert 4 * latent <= totals["cache_bytes"] <= 6 * latent
    times = report["timings_s"]
    stages = ("load", "text", "denoise", "decode", "write")
    assert times["total"] == pytest.approx(sum(times[stage] for stage in stages)), "the baseline is not in it"
    assert all(times["cpu"][stage] > 0 for stage in ("text", "denoise", "decode"))
    assert sum(step["seconds"] for step in steps) <= times["denoise"]
    baseline = report["baseline"]
    assert times["clock"] == "cpu"
    assert baseline["speedup"] == pytest.approx(baseline["denoise_cpu_s"] / times["cpu"]["denoise"])
    assert baseline["total_s"] > baseline["denoise_s"] > 0
    assert totals["peak_memory_of"] in ("run", "process")
    assert 15 < baseline["psnr"] < 100
    assert 0.3 < baseline["ssim"] < 1


def test_same_seed_same_file(cli):
    def digest(*arguments: str) -> str:
        return json.loads(generate(cli, "--json", *arguments).stdout)["output"]["sha256"]

    assert digest() == digest() != digest("--seed", "2")


def test_off_equals_a_threshold_of_zero(cli, tmp_path):
    """The files differ in their tags, the pictures must not."""
    settings = {"mode": ("--mode", "off"), "method": ("--method", "off"), "zero": ("--threshold", "0")}
    frames = []
    for name, arguments in settings.items():
        generate(cli, *arguments, "-o", f"{name}.mp4")
        frames.append(read_video(tmp_path / f"{name}.mp4")[0])
    assert (frames[0] == frames[1]).all()
    assert (frames[0] == frames[2]).all()


@pytest.mark.parametrize(
    "extra", [("--solver", "dpm++"), ("--guidance", "1"), ("--estimator", "dual"), ("--method", "easycache")]
)
def test_samplers_and_methods(cli, extra):
    report = json.loads(generate(cli, "--json", "--threshold", "0.2", "--align-steps", "4", *extra).stdout)
    assert report["totals"]["skipped_steps"] > 0
    calls = report["totals"]["transformer_calls"] / report["totals"]["computed_steps"]
    assert calls == (1 if "--guidance" in extra else 2)


def test_metadata_says_it_is_generated(cli, tmp_path):
    nasty = 'a red circle; rm -rf "$HOME"\n=title= moving right'
    done = cli("generate", *QUICK, "--prompt", nasty, "-o", "deep/er/v.mp4", "--seed", "5")
    assert done.returncode == 0, done.stderr
    tags = read_tags(tmp_path / "deep/er/v.mp4")
    assert "AI-generated" in tags["comment"]
    assert "tiny" in tags["comment"]
    assert "Seed: 5" in tags["comment"]
    assert (
        json.loads(tags["navicache"])["threshold"]
        == json.loads((tmp_path / "deep/er/v.json").read_text())["plan"]["threshold"]["value"]
    )
    assert "does not know these words" in done.stderr
    assert "rm" in done.stderr


def test_prompt_from_stdin_and_file(cli, tmp_path):
    done = cli("generate", *QUICK, "--prompt-file", "-", "--json", input="a blue\nstar growing\n")
    assert json.loads(done.stdout)["plan"]["prompt"]["value"] == "a blue star growing"
    (tmp_path / "p.txt").write_text("a green ring still")
    done = cli("generate", "--prompt-file", "p.txt", "--dry-run", "--json")
    assert json.loads(done.stdout)["prompt"]["value"] == "a green ring still"
    assert cli("generate", "--prompt-file", "p.txt", "--prompt", "a red star").returncode == 2


def test_dry_run_writes_nothing_and_names_sources(cli, tmp_path):
    done = cli("generate", "--dry-run", "--set", "steps=7", env={"NAVICACHE_SEED": "3"})
    assert done.returncode == 0
    for told in ("--set steps", "environment NAVICACHE_SEED", "preset tiny fast"):
        assert told in done.stdout
    assert leftovers(tmp_path) == []


def test_quiet_prints_the_path_alone(cli, tmp_path):
    done = generate(cli, "--quiet")
    assert Path(tmp_path, done.stdout.strip()).is_file()
    assert done.stderr == ""


def test_json_on_stdout_is_nothing_else(cli):
    done = generate(cli, "--json")
    json.loads(done.stdout)
    assert "step 14/14" in done.stderr


def test_no_colour_codes_without_a_terminal(cli):
    done = generate(cli, env={"NO_COLOR": "1"})
    assert "\x1b" not in done.stdout + done.stderr


def test_too_few_steps_to_skip_is_said(cli):
    done = cli("generate", "--prompt", PROMPT, "--steps", "5")
    assert done.returncode == 0
    assert "leave nothing to skip" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--model", "wam"), 2, "did you mean wan"),
        (("--mode", "quick"), 2, "unknown mode"),
        (("--size", "63x64"), 2, "size expects"),
        (("--frames", "16"), 2, "--frames 17"),
        (("--steps", "0"), 2, "1 to 1000"),
        (("--steps", "ten"), 2, "whole number"),
        (("--no-such-flag",), 2, "No such option"),
        (("--prompt", "hippopotamus"), 2, "vocabulary"),
        (("--config", "none.yaml"), 2, "No such file"),
        (("--prompt-file", "none.txt"), 2, "No such file"),
        (("--model", "hunyuan"), 3, "git clone https://github.com/Tencent-Hunyuan/HunyuanVideo"),
        (("--model", "wan"), 3, "git clone https://github.com/Wan-Video/Wan2.1"),
        (("--steps", "900"), 2, "the cache expects one per step"),
        (("--weights", "nowhere"), 4, "backends.tiny.train"),
        (("-o", "video.avi"), 2, ".mp4"),
        (("-o", "/proc/none/video.mp4"), 6, "error:"),
        (("-o", "file/video.mp4"), 6, "error:"),
        (("-o", "taken.mp4"), 6, "--overwrite"),
    ],
)
def test_failures_have_a_cause_a_next_step_and_a_code(cli, tmp_path, arguments, code, told):
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "taken.mp4").write_text("precious")
    done = cli("generate", *QUICK, *arguments, env={"XDG_CACHE_HOME": str(tmp_path / "cache")})
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert leftovers(tmp_path) == ["file", "taken.mp4"]
    assert (tmp_path / "taken.mp4").read_text() == "precious"


def test_debug_shows_the_traceback(cli):
    done = cli("--debug", "generate", "--steps", "0")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "error:" in done.stderr


@pytest.mark.parametrize("damage", ["missing", "truncated", "other", "config"])
def test_damaged_weights(cli, tmp_path, damage):
    import shutil

    from backends.tiny.backend import shipped_weights

    shutil.copytree(shipped_weights(), tmp_path / "w")
    target = tmp_path / "w" / "codec.safetensors"
    if damage == "missing":
        target.unlink()
    elif damage == "truncated":
        target.write_bytes(target.read_bytes()[:1000])
    elif damage == "other":
        shutil.copy(tmp_path / "w" / "text_encoder.safetensors", target)
    else:
        (tmp_path / "w" / "config.json").write_text("[]")
    done = cli("generate", *QUICK, "--weights", "w")
    assert done.returncode == 4, done.stderr
    assert ("config.json" if damage == "config" else "codec.safetensors") in done.stderr
    assert not (tmp_path / "videos").exists() or not leftovers(tmp_path / "videos")


def test_overwrite_replaces(cli, tmp_path):
    generate(cli, "-o", "v.mp4")
    first = (tmp_path / "v.mp4").read_bytes()
    generate(cli, "-o", "v.mp4", "--overwrite", "--seed", "8")
    assert (tmp_path / "v.mp4").read_bytes() != first


def test_full_disk_leaves_no_partial_file(tmp_path):
    """A limit on file size makes the write fail as a full disk does."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))

    done = subprocess.run(
        [sys.executable, "-B", "-m", "navicache_cli", "generate", "--prompt", PROMPT, *QUICK, "-o", "v.mp4"],
        cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, preexec_fn=limit, check=False,
    )  # fmt: skip
    assert done.returncode == 6, done.stderr
    assert "Traceback" not in done.stderr
    assert leftovers(tmp_path) == []


def test_ctrl_c_leaves_nothing(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "navicache_cli", "generate", "--steps", "300", "--mode", "off"],
        cwd=tmp_path, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    first = process.stderr.readline()
    assert "step" in first
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "nothing was written" in errors
    assert "Traceback" not in errors
    assert leftovers(tmp_path) == []


def test_help_is_quick(cli):
    seconds = []
    for _ in range(3):
        before = cpu_seconds_of_children()
        assert cli("--help").returncode == 0
        seconds.append(cpu_seconds_of_children() - before)
    assert min(seconds) < 0.5


def cpu_seconds_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def test_commands_are_declared_without_heavy_packages():
    heavy = {
        "torch",
        "numpy",
        "omegaconf",
        "yaml",
        "jsonschema",
        "msgspec",
        "imageio",
        "einops",
        "matplotlib",
    }
    code = f"import sys, navicache_cli.app; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_a_dry_run_imports_no_torch():
    code = (
        "import sys; sys.argv = ['navicache', 'generate', '--dry-run', '--model', 'wan']\n"
        "from navicache_cli.app import main\n"
        "try: main()\nexcept SystemExit as e: assert not e.code\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean_environment(), capture_output=True, check=False
    )
    assert done.returncode == 0


@pytest.mark.parametrize("command", [("models",), ("presets",), ("presets", "--model", "wan")])
def test_listings(cli, command):
    done = cli(*command)
    assert done.returncode == 0, done.stderr
    assert "tiny" in done.stdout or "wan" in done.stdout
    assert json.loads(cli(*command, "--json").stdout)


def test_unknown_model_in_listing(cli):
    assert cli("presets", "--model", "nope").returncode == 2


def test_version(cli):
    assert cli("--version").stdout.startswith("navicache ")


@pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal is a POSIX thing")
def test_progress_on_a_terminal(tmp_path):
    code, text = on_a_terminal(tmp_path, "generate", "--prompt", PROMPT, "--steps", "20")
    assert code == 0
    assert "skipped" in text
    assert "█" in text
    assert "20/20" in text
