"""Training is a pure function of its seed: stopping and resuming changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from backends.tiny import train
from backends.tiny.backend import TinyPipeline, shipped_weights


@pytest.fixture(autouse=True)
def a_very_short_training(monkeypatch):
    few = range(3)
    codec = train.StageSettings(steps=4, batch=1, rate=1e-3, scenes=few)
    monkeypatch.setattr(train, "CODEC", codec)
    monkeypatch.setattr(train, "DENOISER", replace(train.DENOISER, steps=4, batch=2, scenes=few))
    monkeypatch.setattr(
        train, "draw_in_parallel", lambda settings: [train.draw_chunk(settings.scenes, settings.two_objects)]
    )
    monkeypatch.setattr(train.shutil, "which", lambda name: None)  # compiling takes longer than four steps


def run(monkeypatch, folder) -> dict[str, torch.Tensor]:
    monkeypatch.setattr("sys.argv", ["train", "--out", str(folder), "--device", "cpu"])
    train.main()
    return {
        f"{name} {key}": value
        for name in ("codec", "text_encoder", "transformer")
        for key, value in load_file(folder / "weights" / f"{name}.safetensors").items()
    }


def test_resuming_changes_nothing(monkeypatch, tmp_path):
    straight = run(monkeypatch, tmp_path / "straight")
    assert (tmp_path / "straight" / "losses.png").stat().st_size > 0
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", 0.0)
    schedule, calls = train.learning_rate, []

    def interrupted(step, steps, peak):
        calls.append(step)
        if len(calls) % 5 == 3:  # once in every stage
            raise KeyboardInterrupt
        return schedule(step, steps, peak)

    monkeypatch.setattr(train, "learning_rate", interrupted)
    for _ in ("codec", "denoiser"):
        with pytest.raises(KeyboardInterrupt):
            run(monkeypatch, tmp_path / "resumed")
    resumed = run(monkeypatch, tmp_path / "resumed")
    assert straight.keys() == resumed.keys()
    assert all(torch.equal(straight[key], resumed[key]) for key in straight)
    for stage in ("codec", "denoiser"):
        logs = [(tmp_path / name / f"{stage}.csv").read_text() for name in ("straight", "resumed")]
        assert logs[0] == logs[1]
        assert len(logs[0].splitlines()) == 5


def test_training_moves_the_weights(monkeypatch, tmp_path):
    weights = run(monkeypatch, tmp_path)
    torch.manual_seed(train.SEED)
    untrained = train.TinyWan().state_dict()
    assert not torch.equal(weights["transformer head.head.weight"], untrained["head.head.weight"].half())


def test_learning_rate_warms_up_and_decays():
    rates = [train.learning_rate(step, 1000, 1.0) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) > 0.9
    assert rates[-1] < 0.03


@pytest.mark.parametrize("phase", train.DENOISER.phases)
def test_noise_levels_are_shifted_as_documented(phase):
    torch.manual_seed(0)
    levels = train.noise_levels(phase, 20_001)
    assert 0 < levels.min() < 0.3 < 0.97 < levels.max() < 1
    assert float(levels.median()) == pytest.approx(phase.shift / (1 + phase.shift), abs=0.01)


def test_every_step_has_the_phase_that_began_last():
    settings = train.DENOISER
    starts = [phase.start for phase in settings.phases]
    assert starts[0] == 0
    assert starts == sorted(starts)
    assert [settings.phase_at(start) for start in starts] == list(settings.phases)
    for before, start in zip(settings.phases, starts[1:], strict=False):
        assert settings.phase_at(start - 1) == before


def test_channels_of_colour_do_not_see_grey_and_the_others_see_nothing_else():
    codec = TinyPipeline(shipped_weights()).codec
    coloured = train.colour_channels(codec)
    generator = torch.Generator().manual_seed(0)
    grey = torch.rand(1, 1, 17, 64, 64, generator=generator).expand(1, 3, -1, -1, -1) - 0.5
    colour = torch.rand(1, 3, 17, 64, 64, generator=generator) - 0.5
    colour = colour - colour.mean(1, keepdim=True)
    black = codec.encode(torch.zeros_like(grey))
    seen = [(codec.encode(video) - black).pow(2).mean((0, 2, 3, 4)).sqrt() for video in (grey, colour)]
    assert torch.equal(coloured, seen[0] < seen[1])
    ratio = torch.where(coloured, seen[0] / seen[1], seen[1] / seen[0])
    assert ratio.max() < 0.25
    assert 4 <= coloured.sum() <= 12
