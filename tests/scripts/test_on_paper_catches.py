"""Faults are planted, one at a time, and what is asserted of the GPU on paper finds each of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from backends.official import attention
from navicache_cli.cache.predictors.residual import ResidualReuse
from navicache_cli.cache.session import computed_call, session
from navicache_cli.cache.session.device_read import DeviceRead
from navicache_cli.cache.session.memory import Branches
from scripts.paper_gpu.gpu import PaperGpu
from tests.doubles.double import Double
from tests.on_paper import assert_sound, run_on_paper
from tests.scripts.test_doubles_on_paper import OPTIONS, WIDTHS

pytestmark = pytest.mark.usefixtures("_forget_doubles")
RESIDUAL, CALIBRATED = (
    {"predictor": name, "speedup": "1.5", "align_steps": "1"} for name in ("residual", "calibrated")
)


def another_prediction(monkeypatch, change):
    """`change` is called with the predictor and what it predicted, and returns what it predicts instead."""
    predict = ResidualReuse.predict
    monkeypatch.setattr(ResidualReuse, "predict", lambda self, *given: change(self, predict(self, *given)))


def second_wait(monkeypatch):
    now = DeviceRead.now

    def read_twice(read, numbers=None):
        now(read)
        return now(read, numbers)

    monkeypatch.setattr(DeviceRead, "now", read_twice)


def mask_of_all_tokens(monkeypatch):
    monkeypatch.setattr(
        attention, "_mask", lambda nq, nk, *_: torch.ones(nq, nk, dtype=torch.bool, device="cuda")
    )


def other_type(monkeypatch):
    another_prediction(monkeypatch, lambda _, made: tuple(one.half() for one in made))


def tensor_that_nobody_counts(monkeypatch):
    def keep(predictor, made):
        predictor.secret = [made]
        return made

    another_prediction(monkeypatch, keep)


def copy_inside_a_larger_tensor(monkeypatch):
    def snapshot(tensors):
        return tuple(torch.stack([one.detach(), one.detach()])[0] for one in tensors)

    monkeypatch.setattr(computed_call, "snapshot", snapshot)


def large_temporary(monkeypatch):
    def waste(_, made):
        torch.cat([*made] * 5)
        return made

    another_prediction(monkeypatch, waste)


def nothing_skipped(monkeypatch):
    monkeypatch.setattr(session, "predicted_outputs", lambda *_: None)


FAULTS = {
    second_wait: "one wait a step",
    mask_of_all_tokens: "no mask, and no scores",
    other_type: "the type of the model's own",
    tensor_that_nobody_counts: "bytes reported are bytes kept",
    copy_inside_a_larger_tensor: "bytes reported are bytes kept",
    large_temporary: "temporaries",
    nothing_skipped: "something is skipped",
}


def run_double(model, settings):
    width, tokens = WIDTHS[model]
    return run_on_paper(model, Double(model).path, settings, width, **OPTIONS.get(model, {})), tokens


@pytest.mark.parametrize("plant", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_found(plant, monkeypatch):
    plant(monkeypatch)
    seen, tokens = run_double("wan", RESIDUAL)
    with pytest.raises(AssertionError, match=FAULTS[plant]):
        assert_sound(seen, RESIDUAL, tokens)


def test_a_cache_that_stays_is_found(monkeypatch):
    clear = Branches.clear
    monkeypatch.setattr(Branches, "clear", lambda all: None if hasattr(all, "_branches") else clear(all))
    monkeypatch.setattr(Branches, "release", lambda _: None)
    seen, tokens = run_double("wan", CALIBRATED)
    with pytest.raises(AssertionError, match="nothing is kept afterwards"):
        assert_sound(seen, CALIBRATED, tokens)


def test_a_tensor_on_the_other_device_ends_the_run(monkeypatch):
    another_prediction(monkeypatch, lambda _, made: tuple(one.cpu() for one in made))
    with pytest.raises(RuntimeError, match="same device"):
        run_double("wan", RESIDUAL)


def test_types_that_do_not_fit_end_the_run():
    with PaperGpu(), pytest.raises(RuntimeError, match="same dtype"):
        nn.Linear(4, 4, dtype=torch.bfloat16, device="cuda")(torch.ones(2, 4, device="cuda"))
