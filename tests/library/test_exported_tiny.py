"""`tiny` as a folder for diffusers: stock `WanPipeline` makes the videos of `tiny`'s own pipeline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from backends.protocol import Stages
from backends.tiny import export
from backends.tiny.backend import TinyPipeline, shipped_weights
from backends.tiny.evaluate import held_out_scenes
from backends.tiny.text import IGNORED, SYNONYMS, TEXT_LEN, TOKENS, tokenize
from backends.tiny.world import describe
from navicache_cli.errors import BackendError, OutputError, UsageError
from navicache_cli.media.fidelity import psnr
from navicache_cli.media.video import to_uint8
from navicache_cli.plan.plan import Layer, resolve
from tests.conftest import clean_environment
from tests.program import ROOT, assert_refused, invoke

pytest.importorskip("accelerate", reason="pip install 'navicache[diffusers]' to test exported folders")

SIZE = {"height": 64, "width": 64, "num_frames": 17, "guidance_scale": 4.0}
PROMPTS = {
    1: "a red circle moving right on a dark striped background",
    2: "A Blue_ball grows, and the yellow ring is moving up on a light zebra background, camera pans left!",
}
# What a user writes: nothing of navicache but the import that the folder's README.md names.
PROGRAM = """
import json, sys
import torch
import backends.tiny.exported
from diffusers import WanPipeline
assert "backends.tiny.export" not in sys.modules
folder, wanted, size, output = sys.argv[1], *map(json.loads, sys.argv[2:4]), sys.argv[4]
pipe = WanPipeline.from_pretrained(folder)
videos = []
for prompt, seed, steps, by_noise in wanted:
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(1, 16, 5, 8, 8, generator=generator)
    given = {"latents": latents} if by_noise else {"generator": generator.manual_seed(seed)}
    videos.append(pipe(prompt, num_inference_steps=steps, output_type="pt", **given, **size).frames[0])
torch.save(torch.stack(videos), output)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("exported") / "new" / "tiny"
    shown = invoke("export-tiny", made)
    assert shown.splitlines() == [str(made)]
    return made


@pytest.fixture(scope="module")
def pipe(folder: Path):
    from diffusers import WanPipeline

    import backends.tiny.exported  # noqa: F401  where diffusers finds the classes

    loaded = WanPipeline.from_pretrained(folder)
    loaded.set_progress_bar_config(disable=True)
    return loaded


@cache
def tiny() -> TinyPipeline:
    return TinyPipeline(shipped_weights(), device="cpu")


def own_video(prompt: str, seed: int, steps: int) -> Tensor:
    options = {"mode": "off", "prompt": prompt, "seed": seed, "steps": steps}
    return tiny().generate(resolve([Layer("test", options)]), Stages())


def test_a_program_of_its_own_makes_the_same_videos(folder: Path, tmp_path: Path):
    preset = resolve([Layer("test", {})]).steps
    wanted = [(PROMPTS[2], 2, preset, True), (PROMPTS[1], 1, 16, True)]
    again = [(PROMPTS[1], 1, 16, False)] * 2
    output = tmp_path / "videos.pt"
    command = [sys.executable, "-c", PROGRAM, folder, json.dumps(wanted + again), json.dumps(SIZE), output]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        list(map(str, command)), cwd=tmp_path, env=clean_environment(PYTHONPATH=paths),
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    made = torch.load(output).transpose(1, 2) * 2 - 1
    for video, (prompt, seed, steps, _) in zip(made, wanted, strict=False):
        expected = own_video(prompt, seed, steps)
        assert expected.std() > 0.05, "a blank video proves nothing"
        assert psnr(to_uint8(video), to_uint8(expected)) > 50, (prompt, steps)
    by_noise, first, second = made[1], *made[-2:]
    assert torch.equal(first, second), "one seed, two videos"
    assert torch.equal(first, by_noise), "the noise is not that of the seed"


WORDS = st.sampled_from([*TOKENS[1:], *SYNONYMS, *sorted(IGNORED), "zebra", "redder", "Circle", "stár", "7"])
GAPS = st.sampled_from([" ", ", ", "_", " - ", "\n", "! "])


@cache
def stock_tokenizer():
    return export.tokenizer()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(WORDS, GAPS), max_size=20))
def test_the_tokenizer_reads_prompts_as_tiny_does(parts):
    prompt = "".join(word + gap for word, gap in parts)
    try:
        expected = tokenize(prompt).indices
    except UsageError:  # No word is known, which a tokenizer cannot refuse: the empty prompt.
        expected = (0,)
    assert tuple(stock_tokenizer()(prompt).input_ids) == expected


def test_contexts_are_those_of_tiny_whatever_the_padding(pipe):
    prompts = [*PROMPTS.values(), "", *(describe(scene) for scene in held_out_scenes(6, 3))]
    expected = tiny().text_encoder([tokenize(prompt) for prompt in prompts])
    for length in (TEXT_LEN, 226):
        found, _ = pipe.encode_prompt(prompts, do_classifier_free_guidance=False, max_sequence_length=length)
        for one, words in zip(found, expected, strict=True):
            torch.testing.assert_close(one[: len(words)], words)
            assert not one[len(words) :].any()


def test_rows_of_padding_change_nothing(pipe):
    def made(**options):
        noise = torch.Generator().manual_seed(0)
        return pipe(
            PROMPTS[1], num_inference_steps=2, generator=noise, output_type="pt", **SIZE, **options
        ).frames

    assert torch.equal(made(), made(max_sequence_length=TEXT_LEN))


def test_a_prompt_too_long_is_refused(pipe):
    with pytest.raises(UsageError, match="up to 23 known words, found 24"):
        pipe.encode_prompt("red " * 24)


def test_the_codec_goes_both_ways(pipe):
    video = own_video(PROMPTS[1], 1, 2)[None]
    latents = pipe.vae.encode(video).latents
    assert torch.equal(latents, tiny().codec.encode(video))
    assert torch.equal(pipe.vae.decode(latents, return_dict=False)[0], tiny().codec.decode(latents))


def test_the_stock_transformer_cannot_tell_places_apart(pipe):
    """Why there is a class of ours: on latents that are the same everywhere, `tiny`'s answers are not."""
    from diffusers import WanTransformer3DModel

    weights = pipe.transformer.state_dict()
    weights["patch_embedding.weight"] = weights["patch_embedding.weight"][:, :16]
    stock = WanTransformer3DModel.from_config(pipe.transformer.config).eval()
    stock.load_state_dict(weights)
    same = torch.ones(1, 16, 5, 8, 8), torch.tensor([900]), torch.zeros(1, TEXT_LEN, 128)
    with torch.inference_mode():
        spreads = [
            model(*same, return_dict=False)[0][..., ::2, ::2].flatten(2).std(-1).max()
            for model in (stock, pipe.transformer)
        ]
    assert spreads[0] < 1e-4 < 0.05 < spreads[1]


def test_parts_are_stock_where_they_can_be(folder: Path):
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == "WanPipeline"
    assert index["tokenizer"][0] == "transformers"
    assert index["scheduler"] == ["diffusers", "UniPCMultistepScheduler"]
    assert {index[part][0] for part in ("transformer", "text_encoder", "vae")} == {"backends.tiny.exported"}


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_export_has_the_same_bytes(folder: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    invoke("export-tiny", tmp_path / "empty")
    assert files_of(tmp_path / "empty") == files_of(folder)
    assert "license: apache-2.0" in (folder / "README.md").read_text()


def test_nothing_of_a_users_is_written_over(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("mine", "file", "dangling"):
        with pytest.raises(OutputError, match="expected a new folder"):
            invoke("export-tiny", tmp_path / name)
    assert set(files_of(tmp_path)) == {"mine/notes.txt", "file"}


def test_a_failed_export_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_, **__):
        raise OutputError("the disk is full", "free some space")

    monkeypatch.setattr(export, "write_together", full)
    with pytest.raises(OutputError, match="the disk is full"):
        export.export(tiny(), tmp_path / "tiny")
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    there = export.find_spec
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "transformers" else there(name))
    with pytest.raises(BackendError, match="missing: transformers") as refused:
        invoke("export-tiny", tmp_path / "tiny")
    assert refused.value.hint == 'pip install "navicache[diffusers]"'
    assert not (tmp_path / "tiny").exists()


def test_weights_that_are_none_are_refused(cli, tmp_path: Path):
    assert_refused(cli("export-tiny", "tiny", "--weights", "nowhere"), 4)
    assert not (tmp_path / "tiny").exists()
