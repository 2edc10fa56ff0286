"""Pipelines of diffusers by `--model diffusers`: from a folder to the video and the report."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import threading
from collections.abc import Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from navicache_cli.errors import BackendError, NavicacheError, OutputError, UsageError, WeightsError
from navicache_cli.plan.plan import build_plan
from navicache_cli.run.runner import run
from tests.program import generate, invoke, report_of

pytest.importorskip("accelerate", reason="pip install 'navicache[diffusers]' to test its pipelines")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
STEPS = 12
# What each toy is given beside prompt and steps; its call takes more than its options say.
GIVEN: dict[str, dict[str, str]] = {
    "wan": {"size": "16x16", "frames": "9", "guidance": "6"},
    "wan22": {"size": "16x16", "frames": "9", "guidance": "6"},
    "wan_i2v": {"size": "16x16", "frames": "9"},
    "ltx": {"size": "32x32", "frames": "9", "fps": "24"},
    "cogvideox": {"size": "16x16", "frames": "8", "call": "max_sequence_length=32"},
    "hunyuan_video1_5": {"size": "16x16", "frames": "9", "guidance": "3"},
    "helios": {"size": "16x16", "frames": "17", "call": "num_latent_frames_per_chunk=3"},
    "latte": {"size": "8x8", "frames": "2"},
    "allegro": {"size": "16x16", "frames": "8"},
    "wan_v2v": {"size": "16x16"},
}
DAILY = ("wan", "wan22", "wan_i2v", "ltx", "cogvideox", "hunyuan_video1_5", "helios")
each = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in DAILY else [pytest.mark.slow]) for name in GIVEN]
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pipelines")


@pytest.fixture(scope="module")
def saved(root: Path):
    """The folder of a toy, as `save_pretrained` writes it, with a tokenizer that transformers has."""

    @cache
    def save(name: str) -> Path:
        from tests.library.pipelines.table import ROW

        folder = root / name
        ROW[name].build().save_pretrained(folder)
        index = json.loads((folder / "model_index.json").read_text())
        for key, value in index.items():
            if isinstance(value, list) and value[1] == "ByteTokenizer":
                index[key] = ["transformers", "ByT5Tokenizer"]
        (folder / "model_index.json").write_text(json.dumps(index))
        return folder

    return save


@pytest.fixture(scope="module")
def exported(root: Path) -> Path:
    invoke("export-tiny", root / "tiny")
    return root / "tiny"


@pytest.fixture(scope="module")
def picture(root: Path) -> Path:
    iio.imwrite(root / "picture.png", np.full((16, 16, 3), (90, 120, 200), np.uint8))
    return root / "picture.png"


@pytest.fixture
def changed(saved, tmp_path: Path):
    """A copy of the folder of the toy `wan` with another index."""
    import shutil

    def change(**entries: Any) -> Path:
        folder = Path(shutil.copytree(saved("wan"), tmp_path / "changed"))
        index = json.loads((folder / "model_index.json").read_text())
        (folder / "model_index.json").write_text(json.dumps({**index, **entries}))
        return folder

    return change


def flags_of(name: str, folder: Path, picture: Path, **more: str) -> list[str]:
    given = {"model": "diffusers", "weights": str(folder), "steps": str(STEPS), **GIVEN[name], **more}
    if name == "wan_i2v":
        given["image"] = str(picture)
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in given.items()]
    return [flag.replace("--fps=", "--set=fps=") for flag in flags]


def plan_of(folder: Path, **flags: Any):
    return build_plan({"model": "diffusers", "weights": str(folder), **flags}, [], None, {})


def made(folder: Path, output: Path, *arguments: object) -> dict[str, Any]:
    """The report of a generation by the command line, and its video beside it."""
    return json.loads(invoke("generate", *arguments, "-o", output, "--json"))


def argument(name: str) -> tuple[str, Any]:
    key, _, value = GIVEN[name]["call"].partition("=")
    return key, json.loads(value)


@pytest.mark.shows("budget", "diffusers video")
@each
def test_from_prompt_to_video_and_report(name: str, saved, picture: Path, tmp_path: Path) -> None:
    more = {}
    if name == "wan_v2v":
        iio.imwrite(tmp_path / "in.mp4", np.full((9, 16, 16, 3), 120, np.uint8), fps=8)
        more = {"source_video": str(tmp_path / "in.mp4")}
    report = made(saved(name), tmp_path / "a.mp4", *flags_of(name, saved(name), picture, **more))
    totals = report["totals"]
    assert totals["computed_steps"] == (totals["steps"] + 1) // 2, "the speedup of 2 that is the default"
    if name == "wan_v2v":
        assert totals["steps"] == 9, "of 12 its strength of 0.8 leaves as many"
    assert report["plan"]["speedup"] == {"value": 2.0, "source": "preset diffusers"}
    assert report["plan"]["predictor"]["value"] == "calibrated"
    frames = iio.imread(tmp_path / "a.mp4")
    assert len(frames) == report["output"]["frames"]
    assert "x".join(map(str, frames.shape[2:0:-1])) == GIVEN[name]["size"]
    assert report["timings_s"]["decode"] > 0.001, "decoding is no part of denoising"
    if name == "wan22":
        (told,) = (note for note in report["notes"] if note.startswith("steps computed: "))
        counts = [int(word) for word in re.findall(r"(\d+) of", told)]
        assert re.match(r"steps computed: transformer \d+ of \d+, transformer_2 \d+ of \d+$", told)
        assert sum(counts) == totals["computed_steps"]
    if name == "helios":
        assert totals["steps"] == 2 * STEPS, "both loops"
        assert [step["index"] for step in report["steps"]] == list(range(2 * STEPS))
        assert any("several loops" in note for note in report["notes"])


@pytest.mark.parametrize("name", ["wan", "wan22", "hunyuan_video1_5", "cogvideox"])
def test_off_is_the_bare_pipeline(name: str, saved, picture: Path) -> None:
    import diffusers

    from backends.registry import get_backend

    given = {key: value for key, value in GIVEN[name].items() if key != "call"}
    call = [GIVEN[name]["call"]] if "call" in GIVEN[name] else []
    plan = plan_of(saved(name), prompt="a red circle", steps=STEPS, mode="off", seed=3, call=call, **given)
    backend: Any = get_backend("diffusers")
    assert backend.check(plan) == []
    done = run(backend.load(plan), plan)
    assert len(done.session.records) == STEPS

    pipe = diffusers.DiffusionPipeline.from_pretrained(saved(name))
    taken = inspect.signature(pipe.__call__).parameters
    arguments = {"height": plan.height, "width": plan.width, "num_frames": plan.frames}
    if "guidance_scale" in taken:
        arguments["guidance_scale"] = plan.guidance
    else:
        pipe.guider.guidance_scale = plan.guidance
    if call:
        arguments |= dict([argument(name)])
    made = pipe(
        "a red circle", num_inference_steps=STEPS, output_type="pt",
        generator=torch.Generator().manual_seed(3), **arguments,
    ).frames[0]  # fmt: skip
    assert torch.equal(done.video, made.permute(1, 0, 2, 3) * 2 - 1)


def test_the_exported_tiny_by_the_real_program(exported: Path, tmp_path: Path) -> None:
    arguments = (
        "--model", "diffusers", "--weights", str(exported), "--size", "64x64", "--frames", "17",
        "--steps", "25", "--guidance", "4", "--set", "fps=8", "--prompt", "a red circle moving right on a "
        "dark plain background", "--json",
    )  # fmt: skip
    done = generate(tmp_path, *arguments, "-o", "a.mp4", "--baseline")
    report = report_of(done)
    assert "diffusers 2x: step 25/25" in done.stderr, "our own progress"
    assert "it/s" not in done.stderr, "not diffusers'"
    assert report["totals"]["computed_steps"] == 13
    assert report["totals"]["predicted_error"]["relative"] < 0.1
    assert report["baseline"]["psnr"] > 40
    assert report["baseline"]["speedup"] > 1.3
    assert report["model"]["name"] == "WanPipeline"
    assert report["model"]["commit"].startswith("diffusers ")
    assert report["model"]["weights_digest"].startswith("sha256")
    frames = iio.imread(tmp_path / "a.mp4").astype(float)
    red = frames[..., 0] - frames[..., 2]
    where = [frame.max(0).argmax() if frame.max() > 60 else -1 for frame in red]
    assert where[0] >= 0, "something red"
    assert where[-1] > where[0], "it moves right"


def test_the_same_seed_makes_the_same_video(saved, picture: Path, tmp_path: Path) -> None:
    flags = flags_of("wan", saved("wan"), picture)
    first, again, other = (
        made(saved("wan"), tmp_path / f"{number}.mp4", *flags, "--seed", seed)["output"]["sha256"]
        for number, seed in enumerate((1, 1, 2))
    )
    assert first == again != other


def test_dry_run_says_where_defaults_are_from(saved) -> None:
    def planned(name: str, *more: str) -> dict[str, tuple[Any, str]]:
        document = json.loads(
            invoke("generate", "--model", "diffusers", "--weights", saved(name), "--dry-run", "--json", *more)
        )
        return {key: (entry["value"], entry["source"]) for key, entry in document.items()}

    wan = planned("wan")
    told = "signature of WanPipeline"
    assert wan["size"] == ("832x480", told)
    assert (wan["frames"], wan["steps"], wan["guidance"]) == ((81, told), (50, told), (5.0, told))
    assert wan["shift"] == (7.0, "scheduler of the weights")
    assert wan["solver"] == ("FlowMatchEulerDiscreteScheduler", "scheduler of the weights")
    assert wan["speedup"] == (2.0, "preset diffusers")
    cogvideox = planned("cogvideox")
    assert cogvideox["size"] == ("auto", "chosen by CogVideoXPipeline itself")
    assert cogvideox["frames"] == (0, "chosen by CogVideoXPipeline itself")
    assert planned("ltx")["fps"] == (25, "signature of LTXPipeline")
    guided = planned("hunyuan_video1_5")["guidance"]
    assert guided == (6.0, "guider of the weights")
    assert planned("wan", "--threshold", "0.1")["speedup"] == (0.0, "default")
    assert planned("wan", "--threshold", "0.1")["predictor"] == ("residual", "default")
    assert planned("wan", "--compute", "0.6")["predictor"] == ("calibrated", "preset diffusers")
    assert planned("wan", "--compute", "0.6")["speedup"] == (0.0, "default")
    assert planned("wan", "--steps", "4")["speedup"] == (pytest.approx(4 / 3), "preset diffusers"), "the most"
    assert planned("wan", "--mode", "off")["method"][0] == "off"


def test_modes_of_a_transformer_that_has_some(exported: Path, saved) -> None:
    plan = plan_of(exported, mode="mid")
    assert (plan.threshold, plan.align_steps, plan.budget) == (0.05, 10, 0)
    assert plan.provenance["threshold"] == "preset tiny mid"
    assert plan_of(exported, mode="mid", speedup="2").budget == 0.5
    for name in ("wan", "wan22"):
        with pytest.raises(UsageError, match="published thresholds") as refused:
            plan_of(saved(name), mode="mid")
        assert "--speedup" in refused.value.hint


def test_what_nobody_says_is_left_to_the_pipeline(saved) -> None:
    from backends.diffusers.call import Call, call_arguments

    plan = plan_of(saved("wan"), prompt="x", guidance="0", negative_prompt="")
    parameters = {
        "prompt": None,
        "guidance_scale": None,
        "negative_prompt": "bad",
        "fps": None,
        "num_frames": None,
    }
    given = call_arguments(Call("Some", parameters), plan, {})
    assert given == {"prompt": "x", "guidance_scale": 0.0, "negative_prompt": "", "num_frames": 81}
    plan = plan_of(saved("cogvideox"), prompt="x")
    given = call_arguments(Call("Some", parameters), plan, {})
    assert given == {"prompt": "x", "guidance_scale": 6.0}, "no frames, and no rate"


def test_another_shift_is_another_video_and_then_the_own_one(saved) -> None:
    from backends.registry import get_backend

    backend: Any = get_backend("diffusers")
    plans = [
        plan_of(saved("wan"), steps=4, size="16x16", frames=5, mode="off", **more)
        for more in ({}, {"shift": "1.5"}, {})
    ]
    pipeline = backend.load(plans[0])
    first, other, again = (run(pipeline, plan).video for plan in plans)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_batch_is_resumed(saved, picture: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red circle\na blue star\n")
    flags = flags_of("wan", saved("wan"), picture)
    invoke("batch", prompts, *flags, "--output-dir", tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/videos").glob("*.mp4")}
    assert len(before) == 2
    prompts.write_text("a red circle\na blue star\na green ring\n")
    invoke("batch", prompts, *flags, "--output-dir", tmp_path / "out")
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/videos").glob("*.mp4")}
    assert len(after) == 3
    assert before.items() <= after.items()


def test_a_comparison(saved, picture: Path, tmp_path: Path) -> None:
    flags = [one for one in flags_of("wan", saved("wan"), picture) if "speedup" not in one]
    document = json.loads(
        invoke("compare", *flags, "--prompt", "a star", "--methods", "navicache,fewer-steps",
               "--no-lpips", "--no-page", "--json", "--output-dir", tmp_path / "out")
    )  # fmt: skip
    shares = {one["name"]: one["compute_ratio"] for one in document["settings"]}
    assert shares["navicache 2x"] == shares["fewer-steps 6"] == 0.5
    assert {"off", "navicache 1.5x", "navicache 2.5x"} <= set(shares)


def test_recording_and_replay(saved, picture: Path, tmp_path: Path) -> None:
    flags = flags_of("wan", saved("wan"), picture, mode="off")
    made(saved("wan"), tmp_path / "a.mp4", *flags, "--trajectory")
    replayed = json.loads(invoke("replay", tmp_path / "a.json", "--json"))
    (setting,) = replayed["settings"]
    assert setting["compute"] == 0.5


@pytest.mark.parametrize(
    ("name", "flags", "told"),
    [
        ("hunyuan_video1_5", {"call": ["guidance_scale=3"]}, "unknown argument of HunyuanVideo15Pipeline"),
        ("ltx", {"last_image": "x.png"}, "last-image expects a pipeline that takes one, found LTXPipeline"),
        ("wan", {"image": "x.png"}, "image expects a pipeline that takes one, found WanPipeline"),
        ("wan", {"solver": "unipc"}, "solver expects FlowMatchEulerDiscreteScheduler"),
        ("wan", {"call": ["max_sequence_lenght=3"]}, "did you mean max_sequence_length?"),
        ("wan", {"call": ["num_frames=3"]}, "which --frames does"),
        ("wan", {"call": ["height=3"]}, "which --size does"),
        ("wan", {"call": ["output_type=pil"]}, "navicache does not give itself, found output_type"),
        ("wan", {"call": ["callback_on_step_end=x"]}, "found callback_on_step_end"),
        ("wan", {"call": ["attention_kwargs={a: 1}"]}, "call expects KEY=VALUE items"),
        ("wan", {"call": ["max_sequence_length"]}, "call expects KEY=VALUE"),
        ("wan", {"call": ["x=!!python/object:os.system y"]}, "call expects"),
        ("wan", {"dtype": "int8"}, "unknown dtype 'int8'"),
        ("wan", {"offload_by": "disk"}, "unknown offload-by 'disk'"),
        ("wan", {"revision": "main"}, "revision expects weights on the hub"),
        ("wan", {"method": "magcache"}, "method expects one that diffusers offers"),
        ("wan", {"ulysses": "2"}, "diffusers takes no ulysses"),
        ("wan_i2v", {}, "image expects a file for WanImageToVideoPipeline, found none"),
        ("wan_i2v", {"image": "no.png"}, "cannot read the image no.png"),
    ],
)
def test_what_a_call_does_not_take(name: str, flags: dict[str, Any], told: str, saved) -> None:
    from backends.registry import get_backend

    with pytest.raises(UsageError) as refused:
        get_backend("diffusers").check(plan_of(saved(name), **flags))
    assert told in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(
    ("flags", "notes"),
    [
        ({"offload": True}, ["offload has no effect without a GPU"]),
        ({"offload_by": "group"}, ["offload-by has no effect without --offload"]),
        ({}, []),
    ],
)
def test_what_has_no_effect_is_noted(flags: dict[str, Any], notes: list[str], saved, monkeypatch) -> None:
    from backends.registry import get_backend

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert get_backend("diffusers").check(plan_of(saved("wan"), **flags)) == notes


def test_what_the_pipeline_itself_refuses(saved, picture: Path, tmp_path: Path) -> None:
    flags = flags_of("wan", saved("wan"), picture, size="17x16")
    with pytest.raises(UsageError, match=r"WanPipeline stopped: ValueError: .*divisible by 16"):
        made(saved("wan"), tmp_path / "a.mp4", *flags)
    assert list(tmp_path.iterdir()) == []


def test_calibrate_has_nothing_to_measure_for(saved, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a family that offers magcache"):
        invoke(
            "calibrate", "--model", "diffusers", "--set", f"weights={saved('wan')}", "-o", tmp_path / "r.json"
        )


def test_pipelines_of_pictures_are_refused(changed) -> None:
    with pytest.raises(WeightsError, match="found FluxPipeline, whose call takes no number of frames"):
        plan_of(changed(_class_name="FluxPipeline"))


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"_class_name": ["mine", "Mine"]}, "with code of its own"),
        ({"_class_name": 3}, "expected the name of a pipeline under _class_name"),
        ({"_class_name": "Nothing"}, "found 'Nothing'"),
        ({"_class_name": "AutoencoderKL"}, "found 'AutoencoderKL'"),
        ({"vae": ["os", "system"]}, "found vae of the module 'os'"),
        ({"vae": ["tests.library.pipelines.text", "x"]}, "found vae of the module"),
        ({"vae": ["diffusers.pipelines", "x"]}, "found vae of the module"),
        ({"vae": ["torch", "x"]}, "found vae of the module 'torch'"),
        ({"vae": ["diffusers"]}, "expected module and class of 'vae'"),
        ({"vae": [{}, []]}, "expected module and class of 'vae'"),
        ({"../vae": ["diffusers", "AutoencoderKLWan"]}, "expected module and class of '../vae'"),
    ],
)
def test_hostile_indexes(entries: dict[str, Any], told: str, changed) -> None:
    with pytest.raises(WeightsError) as refused:
        plan_of(changed(**entries))
    assert told in refused.value.message


@pytest.mark.parametrize(
    ("path", "content", "told"),
    [
        ("model_index.json", b"{", "it is not JSON"),
        ("model_index.json", b"[1]", "expected a mapping in model_index.json"),
        ("model_index.json", b'{"a": "' + b"x" * (1 << 20) + b'"}', "at most 1 MiB"),
        ("model_index.json", b"[" * 100_000, "cannot read model_index.json"),
        ("model_index.json", None, "expected model_index.json in"),
        ("scheduler/scheduler_config.json", b"[]", "it holds no mapping"),
        ("transformer/config.json", b'{"num_layers": 1000000}', "beyond 1000, which no model has"),
        ("transformer/config.json", b"{", "cannot use transformer/config.json"),
        ("transformer/diffusion_pytorch_model.safetensors", b"x" * 64, "cannot load WanPipeline"),
        ("transformer/diffusion_pytorch_model.safetensors", None, "cannot load WanPipeline"),
    ],
)
def test_hostile_folders(path: str, content: bytes | None, told: str, changed, tmp_path: Path) -> None:
    folder = changed()
    (folder / path).unlink()
    if content is not None:
        (folder / path).write_bytes(content)
    with pytest.raises(WeightsError) as refused:
        invoke("generate", "--model", "diffusers", "--weights", folder, "--size", "16x16", "--frames", "5",
               "-o", tmp_path / "a.mp4")  # fmt: skip
    assert told in refused.value.message
    assert not (tmp_path / "a.mp4").exists()


def test_pickles_and_pipes_are_not_opened(changed, tmp_path: Path) -> None:
    import os

    folder = changed()
    weights = folder / "transformer/diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(WeightsError, match="found pickles alone"):
        invoke("generate", "--model", "diffusers", "--weights", folder)
    weights.with_suffix(".bin").rename(weights)
    os.mkfifo(folder / "tokenizer/vocab.json")
    with pytest.raises(WeightsError, match="a regular file was expected"):
        invoke("generate", "--model", "diffusers", "--weights", folder)


def test_an_auto_class_with_code_of_its_own(changed) -> None:
    folder = changed(tokenizer=["transformers", "AutoTokenizer"])
    (folder / "tokenizer/tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["x.py", "X"]}}')
    with pytest.raises(WeightsError, match="AutoTokenizer with code of its own"):
        invoke("generate", "--model", "diffusers", "--weights", folder)


@pytest.mark.parametrize(
    ("weights", "error", "told"),
    [
        ("", UsageError, "expects weights, found none"),
        ("nowhere", WeightsError, "expected a folder, or a name on the hub"),
        ("/proc/version", WeightsError, "expected a folder of a pipeline, found the file"),
        ("../a/b", WeightsError, "expected a folder, or a name on the hub"),
        ("toys/none", WeightsError, "cannot fetch model_index.json of toys/none from the hub"),
    ],
)
def test_no_such_weights(
    weights: str, error: type[NavicacheError], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(error, match=told):
        plan_of(Path(), weights=weights)


@pytest.fixture
def hub(saved) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that has the toy `wan` as the repository toys/wan, and what was asked of it."""
    asked: list[str] = []
    files = {
        path.relative_to(saved("wan")).as_posix(): path for path in saved("wan").rglob("*") if path.is_file()
    }
    files["transformer/unsafe.bin"] = files["model_index.json"]

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(head=True)

        def do_GET(self) -> None:
            self._answer(head=False)

        def log_message(self, *_: Any) -> None:
            pass

        def _answer(self, head: bool) -> None:
            info = re.fullmatch(r"/api/models/toys/wan(/tree)?(/revision)?(/[^/?]+)?(\?.*)?", self.path)
            found = re.fullmatch(r"/toys/wan/resolve/(main|" + COMMIT + r")/(.+)", self.path)
            if info and info[1]:
                tree = [
                    {"type": "file", "path": name, "size": path.stat().st_size, "oid": COMMIT}
                    for name, path in files.items()
                ]
                self._send(200, json.dumps(tree).encode(), head)
            elif info:
                told = {"id": "toys/wan", "sha": COMMIT, "siblings": [{"rfilename": one} for one in files]}
                self._send(200, json.dumps(told).encode(), head)
            elif found and found[2] in files:
                if not head:
                    asked.append(found[2])
                self._send(200, files[found[2]].read_bytes(), head)
            else:
                self._send(404, b"", head, {"X-Error-Code": "EntryNotFound" if found else "RepoNotFound"})

        def _send(self, code: int, body: bytes, head: bool, headers: dict[str, str] | None = None) -> None:
            self.send_response(code)
            digest = hashlib.sha256(body).hexdigest()
            told = {"Content-Length": str(len(body)), "ETag": f'"{digest}"', "X-Repo-Commit": COMMIT}
            for name, value in {**told, **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if not head:
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_a_name_on_the_hub(hub, tmp_path: Path) -> None:
    address, asked = hub
    online = {"HF_HOME": str(tmp_path / "kept"), "HF_ENDPOINT": address, "HF_HUB_DISABLE_TELEMETRY": "1"}
    flags = ("--model", "diffusers", "--size", "16x16", "--frames", "5", "--steps", "4", "--json")
    generate(tmp_path, *flags, "--weights", "toys/wan", "--dry-run", **online)
    assert sorted(asked) == ["model_index.json", "scheduler/scheduler_config.json"], "no weights"
    report = report_of(generate(tmp_path, *flags, "--weights", "toys/wan", "-o", "a.mp4", **online))
    assert report["model"]["commit"] == COMMIT
    assert report["model"]["name"] == "WanPipeline toys/wan"
    assert "transformer/diffusion_pytorch_model.safetensors" in asked
    assert "transformer/unsafe.bin" not in asked
    assert len(asked) == len(set(asked)), "nothing twice"


def test_without_the_packages(monkeypatch: pytest.MonkeyPatch, exported: Path) -> None:
    from backends.diffusers import backend
    from backends.official.installation import Package
    from navicache_cli.setup.doctor import model_checks

    monkeypatch.setattr(backend, "PACKAGES", (Package("no-such-package>=1"),))
    with pytest.raises(BackendError, match="missing: no-such-package") as refused:
        plan_of(exported)
    assert refused.value.hint == 'pip install "navicache[diffusers]"'
    rows = {row["model"]: row for row in json.loads(invoke("models", "--json"))}
    assert not rows["diffusers"]["ready"]
    assert 'pip install "navicache[diffusers]"' in rows["diffusers"]["problem"]
    check = model_checks("diffusers", "")[-1]
    assert (check.state, check.hint) == ("missing", 'pip install "navicache[diffusers]"')


def test_doctor_looks_at_the_weights(monkeypatch: pytest.MonkeyPatch, saved) -> None:
    from navicache_cli.setup.doctor import model_checks

    assert model_checks("diffusers", "")[-1].state == "ok"
    monkeypatch.setenv("NAVICACHE_WEIGHTS", str(saved("wan")))
    assert model_checks("diffusers", "")[-1].found == f"a pipeline at {saved('wan')}"
    monkeypatch.setenv("NAVICACHE_WEIGHTS", "nowhere")
    check = model_checks("diffusers", "")[-1]
    assert (check.state, check.exit_code) == ("missing", 4)


def test_nothing_stays_on_the_pipeline(saved) -> None:
    from backends.registry import get_backend
    from navicache_cli.cache import Session, attach, make_policy

    backend: Any = get_backend("diffusers")
    plan = plan_of(saved("wan"), steps=4, size="16x16", frames=5)
    pipeline = backend.load(plan)
    pipe = pipeline.pipe

    def state() -> tuple[Any, ...]:
        names = set(vars(pipe.transformer)) - {"_diffusers_hook"}  # diffusers' own, of the first call
        return type(pipe), type(pipe.scheduler), names

    before = state()
    run(pipeline, plan)
    session = Session(make_policy("off", threshold=0.0, align_steps=0), 4)
    with pytest.raises(OutputError), attach(pipeline.site(), session):
        raise OutputError("x", "y")
    assert not session.attached
    assert state() == before
