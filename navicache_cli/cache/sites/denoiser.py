"""One model of a sampler, whatever its outputs and its conditions: what of a call a session is told."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import nn

from navicache_cli.cache.session.session import Session
from navicache_cli.cache.session.timing import CallTimer
from navicache_cli.cache.sites.arguments import Argument, find_argument
from navicache_cli.cache.sites.binding import Around, Before, CallBinding
from navicache_cli.cache.sites.layout import Part, find_parts, take
from navicache_cli.cache.sites.outputs import Rebuild, read_all
from navicache_cli.cache.tensors import snapshot
from navicache_cli.errors import SiteError

# Names of what the sampler moves, and of what tells the step, in diffusers and in the official repositories.
INPUTS = ("hidden_states", "sample", "x", "latents")
TIMESTEPS = ("timestep", "timesteps", "t", "sigma")
_STREAM = "hidden_states"  # ends the name of every further argument the sampler moves
_CONDITIONS = ("encoder", "control", "pooled")  # begin names of those that it does not


@dataclass(frozen=True)
class Place:
    """What a call belongs to.

    Attributes:
        session: accompanies it.
        names: of its branch, the outermost first; empty where its place in the order of calls names it.
    """

    session: Session
    names: tuple[Hashable, ...] = ()


@dataclass
class _Running:
    """A call whose original runs."""

    place: Place
    form: object
    # Of the very first call, which tells where x is; then the session hears of it when it is over.
    arguments: dict[str, torch.Tensor] | None = None
    timestep: Any = None
    timer: CallTimer | None = None


class Denoiser(Around):
    """Binds one model; its calls go to the session that `place` names, or run as they are where that is None.

    x is found at the first computed call, see `find_parts`. A skipped call returns the form it asks for.

    Args:
        module: the model.
        name: tells it from other models of the same sampler.
        place: says what a call belongs to.
        owner: whose the binding is, see `binding.bound_to`.
        inputs: name of the parameter that is x; left out, one of `INPUTS`.
        timestep: name of the parameter that tells the step; left out, one of `TIMESTEPS`; only looked at
            where nobody tells the step.

    Raises:
        SiteError: the forward lacks such parameters, or a cache is bound to the module, ours or another.
    """

    def __init__(
        self,
        module: nn.Module,
        name: str,
        place: Callable[[], Place | None],
        owner: object,
        inputs: str | None = None,
        timestep: str | None = None,
    ) -> None:
        refuse_other_cache(module)
        self.module = module
        self.name = name
        self._place = place
        inner = getattr(module, "_orig_mod", module)  # what torch.compile wraps has the parameters
        parameters = list(inspect.signature(inner.forward).parameters)
        first = inputs or next((one for one in INPUTS if one in parameters), None)
        if first is None:
            raise SiteError(
                f"expected {type(inner).__name__}.forward with one of {', '.join(INPUTS)}, "
                f"found {', '.join(parameters)}",
                hint="name the parameter the sampler moves: inputs='...'",
            )
        streams = [one for one in parameters if one.endswith(_STREAM) and not one.startswith(_CONDITIONS)]
        self._inputs = [find_argument(inner, one) for one in dict.fromkeys([first, *streams])]
        found = timestep or next((one for one in TIMESTEPS if one in parameters), None)
        self._timestep = find_argument(inner, found) if found else None
        self._form = find_argument(inner, "return_dict") if "return_dict" in parameters else None
        self._parts: list[Part] = []
        self._forms: dict[object, Rebuild] = {}
        import_module("torch._dynamo")  # The model may be compiled later, and the binding must not be.
        self._binding = CallBinding(module, self, owner)
        self.renew, self.release = self._binding.renew, self._binding.release

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Before:
        """See `binding.Around`."""
        place = self._place()
        if place is None:
            return Before(False)
        arguments = self._arguments(args, kwargs)
        timestep = _given(self._timestep, args, kwargs)
        form = _given(self._form, args, kwargs)
        running = _Running(place, form)
        x = next(iter(arguments.values()))
        if place.session.reads_outputs and not self._parts:
            running.timer = CallTimer(x.device)
            names = list(arguments)
            running.arguments = dict(zip(names, snapshot(tuple(arguments.values())), strict=True))
            running.timestep = timestep
            return Before(False, running)
        inputs = take(self._parts, arguments) if self._parts else (x,)
        compute = form not in self._forms and place.session.reads_outputs
        with place.session.branch(*place.names):
            predicted = place.session.enter(timestep, inputs, model=self.name, compute=compute)
        if predicted is None:
            return Before(False, running)
        return Before(True, self._forms[form](predicted))

    def after(self, before: _Running | None, output: Any) -> None:
        """See `binding.Around`."""
        if before is None:
            return
        session = before.place.session
        if not session.reads_outputs:
            session.leave(())
            return
        outputs, rebuild = read_all(output)
        if before.arguments is not None:
            self._parts = self._parts or find_parts(before.arguments, outputs)
            with session.branch(*before.place.names):
                inputs = take(self._parts, before.arguments)
                predicted = session.enter(
                    before.timestep, inputs, model=self.name, compute=True, timer=before.timer
                )
            assert predicted is None, "a call that was to be computed has been predicted"
        session.leave(outputs)
        self._forms[before.form] = rebuild

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, torch.Tensor]:
        """What the sampler may move, by the names of the parameters; the first of them is always there."""
        first, *others = self._inputs
        found = dict(_tensors(first.name, first.value(args, kwargs)))
        if not found:
            raise SiteError(
                f"{first.owner}: expected {first.name!r} to be a tensor or a list of tensors, found neither",
                hint="name the parameter the sampler moves: inputs='...'",
            )
        for one in others:
            found |= _tensors(one.name, _given(one, args, kwargs))
        return found


def _tensors(name: str, value: Any) -> dict[str, torch.Tensor]:
    """The tensors that an argument holds, by name and, of several, number."""
    if isinstance(value, torch.Tensor):
        return {name: value}
    several = value if isinstance(value, list | tuple) else ()
    return {f"{name} {k}": one for k, one in enumerate(several) if isinstance(one, torch.Tensor)}


def _given(argument: Argument | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a call passes for a parameter; None where it leaves it out."""
    if argument is None:
        return None
    if argument.position is not None and argument.position < len(args):
        return args[argument.position]
    return kwargs.get(argument.name)


def refuse_other_cache(module: nn.Module) -> None:
    """Check that no cache of diffusers is on.

    Raises:
        SiteError: one is, it says which.
    """
    kinds = [type(config).__name__] if (config := getattr(module, "_cache_config", None)) else []
    # Hooks that remember something are caches; some were put on without the model's own enable_cache.
    registries = [getattr(part, "_diffusers_hook", None) for part in module.modules()]
    for hooks in (registry.hooks.values() for registry in registries if registry is not None):
        kinds += [type(hook).__name__ for hook in hooks if hook._is_stateful]
    if kinds:
        raise SiteError(
            f"expected {type(module).__name__} without another cache, found {kinds[0]}",
            hint="take it off first: pipe.transformer.disable_cache()",
        )
