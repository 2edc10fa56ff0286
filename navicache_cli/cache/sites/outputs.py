"""The forms a model's forward returns its output in: taken apart when computed, rebuilt when skipped."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch

from navicache_cli.cache.tensors import Tensors
from navicache_cli.errors import SiteError

Rebuild = Callable[[Tensors], Any]


def read_output(output: Any, many: bool) -> tuple[Tensors, Rebuild]:
    """The tensors in `output`, and a function that puts others in the same form.

    That function holds no tensor, so keeping it costs no memory.

    Args:
        output: a tensor; a list or tuple of tensors (Wan2.1); a dict with a tensor at "x"
            (HunyuanVideo); an object with a tensor `sample`, or a tuple that starts with one (diffusers).
        many: the input was a list or tuple of tensors, so one as output holds a tensor for each.

    Raises:
        SiteError: another form, or tensors besides the output, which could not be rebuilt.
    """
    if isinstance(output, torch.Tensor):
        return (output,), _rebuild_tensor
    sample = getattr(output, "sample", None)
    if isinstance(sample, torch.Tensor):
        fields = dataclasses.fields(output) if dataclasses.is_dataclass(output) else ()
        others = {field.name: getattr(output, field.name) for field in fields if field.name != "sample"}
        _refuse_tensors(others.values())
        return (sample,), partial(_rebuild_object, type(output), others)
    if isinstance(output, dict) and isinstance(output.get("x"), torch.Tensor):
        others = {key: value for key, value in output.items() if key != "x"}
        _refuse_tensors(others.values())
        return (output["x"],), partial(_rebuild_dict, others)
    if isinstance(output, list | tuple) and output and isinstance(output[0], torch.Tensor):
        count = len(output) if many else 1
        _refuse_tensors(output[count:])
        tensors = tuple(output[:count])
        if all(isinstance(tensor, torch.Tensor) for tensor in tensors):
            return tensors, partial(_rebuild_sequence, type(output), tuple(output[count:]))
    raise SiteError(
        f"expected a tensor, a sequence of tensors, a dict with 'x' or an object with .sample, "
        f"found an output of type {type(output).__name__}",
        hint="attach to the stack of blocks inside this model instead",
    )


def read_all(output: Any) -> tuple[Tensors, Rebuild]:
    """The same for all tensors of an output: those of a tuple, a list, a dict, or a data class.

    Raises:
        SiteError: another form, no tensor, or tensors further inside.
    """
    if isinstance(output, torch.Tensor):
        return (output,), _rebuild_tensor
    items: dict[Any, Any] = {}
    put: Callable[[dict[Any, Any]], Any] = dict
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        items = {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
        put = partial(_put_fields, type(output))
    elif isinstance(output, dict):
        items = dict(output)
    elif isinstance(output, list | tuple):
        items, put = dict(enumerate(output)), partial(_put_items, type(output))
    names = [name for name, item in items.items() if isinstance(item, torch.Tensor)]
    others = {name: item for name, item in items.items() if name not in names}
    if not names or any(isinstance(item, list | tuple | dict) and item for item in others.values()):
        raise SiteError(
            f"expected a tensor, or a tuple, a dict or a data class of tensors, "
            f"found an output of type {type(output).__name__}",
            hint="switch the model's extra outputs off, or use the method 'off'",
        )
    frame = dict.fromkeys(items) | others  # in the order of the output
    return tuple(items[name] for name in names), partial(_rebuild_all, put, names, frame)


def _rebuild_all(
    put: Callable[[dict[Any, Any]], Any], names: list[Any], frame: dict[Any, Any], tensors: Tensors
) -> Any:
    return put(frame | dict(zip(names, tensors, strict=True)))


def _put_fields(kind: type, items: dict[str, Any]) -> Any:
    return kind(**items)


def _put_items(kind: type, items: dict[int, Any]) -> Any:
    named = getattr(kind, "_make", None)
    return named(items.values()) if named else kind(items.values())


def _refuse_tensors(others: Iterable[Any]) -> None:
    if any(isinstance(other, torch.Tensor) for other in others):
        raise SiteError(
            "expected one output tensor, found more beside it, which a skipped step could not rebuild",
            hint="switch the model's extra outputs off, or attach to the stack of blocks inside it",
        )


def _rebuild_tensor(tensors: Tensors) -> torch.Tensor:
    return tensors[0]


def _rebuild_object(kind: type, others: dict[str, Any], tensors: Tensors) -> Any:
    return kind(sample=tensors[0], **others)


def _rebuild_dict(others: dict[Any, Any], tensors: Tensors) -> dict[Any, Any]:
    return {"x": tensors[0], **others}


def _rebuild_sequence(kind: type, others: tuple[Any, ...], tensors: Tensors) -> Any:
    items = (*tensors, *others)
    named = getattr(kind, "_make", None)
    return named(items) if named else kind(items)
