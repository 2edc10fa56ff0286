"""One generation on the GPU on paper: loaded, run under a session, its waits and bytes noted."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from torch import nn

from backends.protocol import Stages
from backends.registry import get_backend
from navicache_cli.cache.session.session import Session
from navicache_cli.cache.session.tracker import SeenTimestep
from navicache_cli.run.runner import Run, run
from scripts.paper_gpu.cuda import PART, layers_move
from scripts.paper_gpu.gpu import PaperGpu

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from navicache_cli.cache.tensors import Tensors
    from navicache_cli.plan.plan import Plan
    from scripts.paper_gpu.ledger import Peak


@dataclass(frozen=True)
class OnPaper:
    """What a generation would do on a GPU.

    Attributes:
        run: as `runner.run` returns it; the video's pixels mean nothing.
        moments: bytes by stage (load, text, encode of given pictures by the VAE, denoise, decode) and by the
            parts with weights on the GPU.
        matrix: of the tensors made while denoising, the most elements in the two longest dimensions.
        waits: how often the host waited for the GPU because the cache asked it to.
        temporaries: the most bytes that the session made to predict an output, for each byte of that and
            with it.
        kept: the most that the session really kept, in bytes of different storages.
        mistyped: predicted tensors of another type than the model's own outputs.
        weights: bytes of each part on the GPU or beside it.
    """

    run: Run
    moments: Mapping[tuple[str, frozenset[str]], Peak]
    matrix: int
    waits: int
    kept: int
    temporaries: float
    mistyped: int
    weights: Mapping[str, int]


def generate_on_paper(plan: Plan, parts: Mapping[str, str]) -> OnPaper:
    """Load a plan's model and generate its video on a GPU on paper.

    Args:
        plan: with random weights.
        parts: see `families.Family`.
    """
    with _loaded(plan) as (gpu, pipeline):
        weights = _name_parts(gpu, pipeline, parts)
        with _Watched(gpu) as watch, _encoding(gpu, _at(pipeline, parts["VAE"].removesuffix(".model"))):
            done = run(pipeline, plan)
        return OnPaper(
            done,
            gpu.ledger.moments,
            watch.matrix,
            gpu.waits["cache"],
            watch.kept,
            watch.temporaries,
            watch.mistyped,
            weights,
        )


def weigh_on_paper(plan: Plan, parts: Mapping[str, str]) -> dict[str, int]:
    """Load a plan's model and return the bytes of each part's weights."""
    with _loaded(plan) as (gpu, pipeline):
        return _name_parts(gpu, pipeline, parts)


@contextmanager
def _loaded(plan: Plan) -> Iterator[tuple[PaperGpu, Any]]:
    for name in ("diffusers.models.modeling_utils", "transformers.models.auto.tokenization_auto"):
        import_module(name)  # They look for a GPU when they are imported, and keep what they found.
    with PaperGpu() as gpu, layers_move():
        yield gpu, get_backend(plan.model).load(plan)


def _name_parts(gpu: PaperGpu, pipeline: Any, parts: Mapping[str, str]) -> dict[str, int]:
    """Tell the ledger whose weights are where; return the bytes of each part."""
    sizes = {}
    for name, path in parts.items():
        part = _at(pipeline, path)
        if isinstance(part, nn.Module):
            for module in part.modules():
                setattr(module, PART, name)
            tensors = [*part.parameters(), *part.buffers()]
            gpu.ledger.name_weights(name, tensors)
            sizes[name] = sum({id(one): one.nbytes for one in tensors}.values())
    return sizes


def _at(pipeline: Any, path: str) -> Any:
    return reduce(lambda owner, attribute: getattr(owner, attribute, None), path.split("."), pipeline)


@contextmanager
def _encoding(gpu: PaperGpu, vae: Any) -> Iterator[None]:
    """A stage of its own for what the VAE encodes."""
    encode = getattr(vae, "encode", None)
    if encode is None:
        yield
        return

    def staged(*arguments: Any, **keywords: Any) -> Any:
        before = gpu.ledger.stage
        gpu.ledger.begin("encode")
        try:
            return encode(*arguments, **keywords)
        finally:
            gpu.ledger.begin(before)

    with patch.object(vae, "encode", staged):
        yield


class _Watched:
    """Notes stages, and what the session keeps, as long as it is entered."""

    def __init__(self, gpu: PaperGpu) -> None:
        self._gpu = gpu
        self.matrix = self.kept = self.mistyped = 0
        self.temporaries = 0.0
        types: list[torch.dtype] = []
        start, note, enter, leave = Stages.start, Session._note_memory, Session.enter, Session.leave

        def begin_stage(stages: Stages, name: str) -> None:
            if gpu.ledger.stage == "denoise":
                self.matrix = gpu.ledger.matrix
            start(stages, name)
            gpu.ledger.begin(name or "end")

        def note_memory(session: Session) -> None:
            note(session)
            gpu.ledger.cache_bytes = lambda: kept_bytes(session)
            self.kept = max(self.kept, kept_bytes(session))

        def enter_call(session: Session, *arguments: Any, **keywords: Any) -> Any:
            before = gpu.ledger.high = gpu.ledger.live
            predicted = enter(session, *arguments, **keywords)
            if predicted is not None:
                size = sum(one.nbytes for one in predicted)
                self.temporaries = max(self.temporaries, (gpu.ledger.high - before) / size)
                self.mistyped += sum(a.dtype != kind for a, kind in zip(predicted, types, strict=True))
            return predicted

        def leave_call(session: Session, outputs: Tensors) -> None:
            types[:] = [one.dtype for one in outputs]
            leave(session, outputs)

        self._patches: list[Any] = [
            patch.object(Stages, "start", begin_stage),
            patch.object(Session, "_note_memory", note_memory),
            patch.object(Session, "enter", enter_call),
            patch.object(Session, "leave", leave_call),
        ]

    def __enter__(self) -> _Watched:
        for one in self._patches:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._patches:
            one.stop()
        self._gpu.ledger.cache_bytes = lambda: 0


def kept_bytes(session: Session) -> int:
    """What all tensors below a session really take, whoever holds them: each storage whole, and once."""
    storages = {one.untyped_storage()._cdata: one.untyped_storage() for one in _held(session)}
    return sum(storage.nbytes() for storage in storages.values())


def _held(session: Session) -> Iterator[torch.Tensor]:
    """All tensors that the cache's objects below a session hold.

    But for single numbers that are still to be read, and the timestep, which is the sampler's own.
    """
    below: list[Any] = [session]
    seen: set[int] = set()
    while below:
        one = below.pop()
        if id(one) in seen or isinstance(one, SeenTimestep):
            continue
        seen.add(id(one))
        if isinstance(one, torch.Tensor):
            if one.dim():
                yield one
        elif isinstance(one, dict):
            below += one.values()
        elif isinstance(one, list | tuple | set):
            below += one
        elif type(one).__module__.startswith("navicache_cli.cache."):
            below += vars(one).values() if hasattr(one, "__dict__") else ()
