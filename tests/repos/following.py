"""Holds a real run against the equations: what went through the transformer, and the records of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from backends.official.repositories import read_commit
from backends.wan import random_parts
from navicache_cli.run.runner import run
from tests.cache import oracle
from tests.outside import watched
from tests.program import generate, report_of

# The bare pipeline and the checkout's other classes run outside our filter.
OUTSIDE_OUR_FILTER = [
    pytest.mark.filterwarnings("ignore:.*autocast.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*CUDA is not available.*:UserWarning"),
]


def small_weights_beside(folder, config, monkeypatch):
    """Make a folder with a saved small transformer one that Wan's loader takes: empty files, small sizes."""
    for key, value in random_parts.SMALL_CONFIG.items():
        monkeypatch.setitem(config, key, value)
    for name in (config.t5_checkpoint, config.vae_checkpoint):
        torch.save({}, folder / name)
    (folder / config.t5_tokenizer).mkdir(parents=True)
    (folder / config.t5_tokenizer / "tokenizer.json").write_text("{}")


class Observer:
    """Records, for the time of a `with`, what goes in and out of a region of a model, and when its parts run.

    Attributes:
        calls: x and y of every call.
        ran: the number of the call, once for every part that ran in it.

    Args:
        first: where x goes in, as the first argument.
        last: what returns y; the same module where the region is one.
        parts: modules that do not run where the region is skipped.
        read_input: x as one tensor, from that argument.
        read_output: y as one tensor, from what `last` returns.
    """

    def __init__(self, first, last, parts, read_input=lambda x: x, read_output=lambda y: y):
        self.calls, self.ran = [], []
        self._first, self._last, self._parts = first, last, parts
        self._read_input, self._read_output = read_input, read_output

    def _watch(self, module, args, call):
        if module is self._first:
            self._x = self._read_input(args[0]).detach().clone()
        output = call()
        if module is self._last:
            self.calls.append((self._x, self._read_output(output).detach().clone()))
        return output

    def __enter__(self):
        self._watching = watched(self._watch)
        self._watching.__enter__()
        self._hooks = [
            part.register_forward_hook(lambda *_: self.ran.append(len(self.calls))) for part in self._parts
        ]
        return self

    def __exit__(self, *_):
        self._watching.__exit__(None, None, None)
        for hook in self._hooks:
            hook.remove()


def inputs_of_a_layer(block, layer, remade, generate: Callable[[], object]):
    """What goes into a layer of a block during a generation, twice: as it is, and as remade from the block's.

    Args:
        block: called with positional arguments.
        layer: inside of it.
        remade: makes the layer's input from the block and what that is called with.
        generate: generates.
    """
    taken, made = [], []
    hooks = [
        layer.register_forward_pre_hook(lambda _, args: taken.append(args[0].clone())),
        block.register_forward_pre_hook(lambda _, args: made.append(remade(block, args, {}))),
    ]
    generate()
    for hook in hooks:
        hook.remove()
    return taken, made


def distance(a, b):
    return (a.double() - b.double()).abs().mean().item()


def decisions_of_the_oracle(plan, calls, records):
    """Which steps the equations compute, given x and y of the first branch at every step.

    The step at which another model takes over is computed, and measured against nothing. Also checks the
    accumulated error of every record, and that no decision hung on the precision of float32.
    """
    gate = oracle.Gate(plan.threshold, plan.align_steps, plan.steps, plan.estimator)
    previous, kept, decisions, model = None, None, [], records[0].model
    for index, ((x, y), record) in enumerate(zip(calls, records, strict=True)):
        if record.model == model:
            row = gate.decide(index, distance(x, previous) if index else None)
        else:
            model, kept, gate.error = record.model, None, 0.0
            row = oracle.Row(index, True, True, *gate.filter.at(index), None, 0.0)
        previous = x
        assert row.forced or abs(row.error / plan.threshold - 1) > 1e-4, "float32 must not be the judge"
        decisions.append(row.compute)
        assert record.decision.accumulated_error == pytest.approx(row.error, rel=1e-3)
        if row.compute:
            spans = (distance(x, kept[0]), distance(y, kept[1])) if kept else (None, None)
            gate.measure(index, *spans, y.double().abs().mean().item())
            kept = x, y
    return decisions


def assert_residual_reused(calls, computed, near=1e-6):
    """At every skipped step of a branch, y is x and what the last computed step added to its own x."""
    for (x, y), fine in zip(calls, computed, strict=True):
        if fine:
            x_c, y_c = x, y
        else:
            assert torch.allclose(y, x + (y_c - x_c), atol=near)


def assert_every_step_ran(done, shape, calls):
    """A run without a cache made a video of this shape in so many calls of the transformer."""
    assert done.video.dtype == torch.float32
    assert done.video.shape == shape
    assert done.video.std() > 0.1, "a picture, not one colour"
    assert done.session.transformer_calls == calls
    assert done.session.transformer_calls_saved == 0
    assert set(done.seconds) == {"text", "denoise", "decode"}
    assert min(done.seconds.values()) > 0


def assert_like_off_but_for_its_skips(pipeline, plan_of, mode):
    """A mode gives the same video every time, and not far from the one without a cache."""
    cached, again, uncached = (run(pipeline, plan_of(mode=kind)) for kind in (mode, mode, "off"))
    assert torch.equal(cached.video, again.video)
    skipped = cached.session.transformer_calls_saved
    assert (skipped > 0) != torch.equal(cached.video, uncached.video)
    if mode == "fast":
        assert skipped > 0
    assert (cached.video - uncached.video).abs().mean() < 0.2


def assert_official_program(folder, model, repository, *arguments, before=""):
    """The command line runs an official checkout, and shows nothing that is not ours; returns the report."""
    official = ("--model", model, "--repo", repository, "--weights", "random-small")
    quick = ("--frames", "1", "--steps", "12", "--align-steps", "3", "--threshold", "0.2")
    done = generate(folder, *official, *quick, *arguments, "--json", before=before)
    report = report_of(done)
    assert report["totals"]["skipped_steps"] > 0
    assert report["model"]["commit"] == read_commit(Path(repository).resolve())
    for word in ("Warning", "it/s", "%|", "INFO", "DEBUG"):
        assert word not in done.stderr
    return report
