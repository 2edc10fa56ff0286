"""Where a session meets a model. The only binder of forwards; here, of a whole one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import update_wrapper
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from navicache_cli.cache.session.session import Session
from navicache_cli.cache.sites.arguments import as_tensors, find_argument
from navicache_cli.cache.sites.binding import MARK, refuse_bound
from navicache_cli.cache.sites.outputs import Rebuild, read_output
from navicache_cli.cache.tensors import Tensors
from navicache_cli.errors import SiteError

Forward = Callable[..., Any]

SKIPPED = ""  # among kinds of modules: those that do not run at a skipped step
_ABSENT = object()


class Site(Protocol):
    """A cached region of a model.

    A site may say by an attribute `sees_latents` that its x is not what the sampler moves, or its y not what
    it moves it by; then no error of the final latents is predicted.
    """

    def bindings(self, session: Session) -> list[tuple[nn.Module, Forward]]:
        """The modules to bind, each with the forward that replaces its present one. Binds nothing.

        Raises:
            SiteError: a module is not as this site expects.
        """

    def cached_modules(self) -> tuple[nn.Module, dict[str, list[nn.Module]]]:
        """The model, and what of it may be saved: modules that do not run at a skipped step under `SKIPPED`,
        and under a kind of attention those that do not run at a step that uses it again.
        """


@runtime_checkable
class BindsItself(Protocol):
    """A region that is more than modules, such as a whole pipeline: what `attach` takes in a site's place."""

    def bound(self, session: Session) -> AbstractContextManager[None]:
        """Within this it runs under the session; afterwards nothing of that is left.

        Raises:
            SiteError: it is not as expected, or under a session already.
        """

    def cached_modules(self) -> tuple[nn.Module, dict[str, list[nn.Module]]]:
        """See `Site.cached_modules`."""


@contextmanager
def attach(site: Site | BindsItself, session: Session) -> Iterator[Session]:
    """Run `site` under `session` inside the `with` block; afterwards every forward is back as it was.

    Forwards are bound on the instance, over whatever is bound there already, never on the class: other
    instances, and a sequence-parallel forward beneath, are left alone. On the way out the session's
    records are completed (unless an exception passes) and its tensors are dropped.

    Raises:
        SiteError: a session is attached here already, this one is attached elsewhere, the site does not fit
            its module, or it sees nothing that the session's `max_error` could be held against.
    """
    if isinstance(site, BindsItself):
        bound = site.bound(session)
    else:
        bindings = site.bindings(session)
        for module, _ in bindings:
            refuse_bound(module)
        bound = _bound(bindings, session)
    if session.attached:
        raise SiteError(
            "expected a session that is free, found it attached to another site",
            hint="make a session of its own for each site",
        )
    sees_latents = getattr(site, "sees_latents", True)
    if session.error_estimate.limit is not None and session.policy.caches and not sees_latents:
        raise SiteError(
            "expected a site that sees the latents, to hold their error against max_error; "
            f"found {type(site).__name__}",
            hint="attach to the whole forward (ForwardSite), or make the session without max_error",
        )
    try:
        session.attached = True
        session.error_estimate.sees_latents = sees_latents
        with bound:
            yield session
            session.finish()
    finally:
        session.clear()
        session.attached = False


@contextmanager
def _bound(bindings: list[tuple[nn.Module, Forward]], session: Session) -> Iterator[None]:
    """Within this each module has the forward that is given for it."""
    before = [(module, module.__dict__.get("forward", _ABSENT)) for module, _ in bindings]
    try:
        for module, forward in bindings:
            update_wrapper(forward, module.forward)
            setattr(forward, MARK, session)
            module.__dict__["forward"] = forward
        yield
    finally:
        for module, forward in before:
            if forward is _ABSENT:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = forward


class ForwardSite:
    """The whole forward of a model: x in, an output of the same shape out.

    x may be a tensor or a list or tuple of tensors. For the forms of output see `read_output`; a
    skipped call returns the form the last computed call had. A wrapper that holds the model in `module`
    (FSDP, DDP) is bound itself, so that a skipped call gathers no weights either.

    Args:
        module: the model.
        timestep: name of the forward's parameter that tells the step.
        inputs: name of the parameter that is x.
    """

    def __init__(self, module: nn.Module, timestep: str = "t", inputs: str = "x") -> None:
        self.module = module
        self.timestep = timestep
        self.inputs = inputs

    def bindings(self, session: Session) -> list[tuple[nn.Module, Forward]]:
        """See `Site.bindings`.

        Raises:
            SiteError: the forward lacks one of the parameters.
        """
        original = self.module.forward
        timestep = find_argument(self.module, self.timestep)
        inputs = find_argument(self.module, self.inputs)
        rebuild: Rebuild | None = None

        def forward(*args: Any, **kwargs: Any) -> Any:
            nonlocal rebuild
            x = inputs.value(args, kwargs)
            predicted = session.enter(timestep.value(args, kwargs), as_tensors(x, inputs))
            if predicted is not None:
                assert rebuild is not None, "a prediction before any computed call"
                return rebuild(predicted)
            output = original(*args, **kwargs)
            outputs: Tensors = ()
            if session.reads_outputs:
                outputs, rebuild = read_output(output, many=not isinstance(x, torch.Tensor))
            session.leave(outputs)
            return output

        return [(self.module, forward)]

    def cached_modules(self) -> tuple[nn.Module, dict[str, list[nn.Module]]]:
        """See `Site.cached_modules`: the whole model."""
        return self.module, {SKIPPED: [self.module]}
