"""Training is a pure function of its seed: stopping and resuming changes nothing."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from backends.tiny import train


@pytest.fixture(autouse=True)
def a_very_short_training(monkeypatch):
    monkeypatch.setattr(train, "CODEC", train.StageSettings(steps=4, batch=1, rate=1e-3, videos=3))
    monkeypatch.setattr(train, "DENOISER", train.StageSettings(steps=4, batch=2, rate=1e-3, videos=3))
    monkeypatch.setattr(train, "draw_in_parallel", lambda count, chunk: [train.draw_chunk(range(count))])
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
    schedule, stops = train.learning_rate, [2, 3]

    def interrupted(step, steps, peak):
        if stops and step == stops[0]:
            stops.pop(0)
            raise KeyboardInterrupt
        return schedule(step, steps, peak)

    monkeypatch.setattr(train, "learning_rate", interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(monkeypatch, tmp_path / "resumed")
    resumed = run(monkeypatch, tmp_path / "resumed")
    assert straight.keys() == resumed.keys()
    assert all(torch.equal(straight[key], resumed[key]) for key in straight)
    logs = [(tmp_path / name / "denoiser.csv").read_text() for name in ("straight", "resumed")]
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
