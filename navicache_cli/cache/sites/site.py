"""Where a session meets a model: attaching to it, and the site over a whole forward."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from navicache_cli.cache.session.session import Session
from navicache_cli.cache.sites.arguments import Argument, as_tensors, find_argument
from navicache_cli.cache.sites.binding import Around, Before, CallBinding, refuse_bound
from navicache_cli.cache.sites.outputs import Rebuild, read_output
from navicache_cli.cache.tensors import Tensors
from navicache_cli.errors import SiteError

Bindings = list[tuple[nn.Module, Around]]
CachedModules = tuple[nn.Module, dict[str, list[nn.Module]]]

SKIPPED = ""  # among kinds of modules: those that do not run at a skipped step


class Site(Protocol):
    """A cached region of a model.

    A site may say by an attribute `sees_latents` that its x is not what the sampler moves, or its y not what
    it moves it by; then no error of the final latents is predicted.
    """

    def bindings(self, session: Session, name: str = "") -> Bindings:
        """The modules to bind, each with what happens around its calls. Binds nothing.

        Args:
            session: accompanies the calls.
            name: of the model, where the session serves several.

        Raises:
            SiteError: a module is not as this site expects.
        """

    def cached_modules(self, name: str = "") -> CachedModules:
        """The model of this name, and what of it may be saved: modules that do not run at a skipped step
        under `SKIPPED`, and under a kind of attention those that do not run at a step that uses it again.
        """


@runtime_checkable
class BindsItself(Protocol):
    """A region that is more than modules, such as a whole pipeline: what `attach` takes in a site's place."""

    def bound(self, session: Session) -> AbstractContextManager[None]:
        """Within this it runs under the session; afterwards nothing of that is left.

        Raises:
            SiteError: it is not as expected, or under a session already.
        """

    def cached_modules(self, name: str = "") -> CachedModules:
        """See `Site.cached_modules`."""


@contextmanager
def attach(site: Site | BindsItself, session: Session) -> Iterator[Session]:
    """Run `site` under `session` inside the `with` block; afterwards every module is back as it was.

    Calls are bound on the instance, above its hooks, a forward that is bound there, and compiled code, see
    `CallBinding`: other instances, and a sequence-parallel forward beneath, are left alone. On the way out
    the session's records are completed (unless an exception passes) and its tensors are dropped.

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
def _bound(bindings: Bindings, session: Session) -> Iterator[None]:
    """Within this each module has bound to its calls what is given for it."""
    done: list[CallBinding] = []
    try:
        for module, around in bindings:
            done.append(CallBinding(module, around, session))
        yield
    finally:
        for binding in done:
            binding.release()


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

    def bindings(self, session: Session, name: str = "") -> Bindings:
        """See `Site.bindings`.

        Raises:
            SiteError: the forward lacks one of the parameters.
        """
        timestep = find_argument(self.module, self.timestep)
        inputs = find_argument(self.module, self.inputs)
        return [(self.module, _WholeForward(session, name, timestep, inputs))]

    def cached_modules(self, name: str = "") -> CachedModules:
        """See `Site.cached_modules`: the whole model."""
        return self.module, {SKIPPED: [self.module]}


class _WholeForward(Around):
    """Around the calls of a model that is cached as a whole."""

    def __init__(self, session: Session, name: str, timestep: Argument, inputs: Argument) -> None:
        self._session = session
        self._name = name
        self._timestep = timestep
        self._inputs = inputs
        self._rebuild: Rebuild | None = None

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Before:
        """See `Around`; hands on whether x is a list or tuple."""
        x = self._inputs.value(args, kwargs)
        timestep = self._timestep.value(args, kwargs)
        predicted = self._session.enter(timestep, as_tensors(x, self._inputs), model=self._name)
        if predicted is None:
            return Before(False, not isinstance(x, torch.Tensor))
        assert self._rebuild is not None, "a prediction before any computed call"
        return Before(True, self._rebuild(predicted))

    def after(self, before: bool, output: Any) -> None:
        """See `Around`."""
        outputs: Tensors = ()
        if self._session.reads_outputs:
            outputs, self._rebuild = read_output(output, many=before)
        self._session.leave(outputs)


class ModelsSite:
    """Several models of one sampler, such as the two experts of Wan2.2, each with a site of its own.

    They share the session: one budget, one ratio, one error. Where one model takes over from another, what
    the other returned is dropped, and that step is computed.

    Args:
        sites: of each model, by its name.

    Attributes:
        sees_latents: whether all of them do, see `Site`.
    """

    def __init__(self, sites: Mapping[str, Site]) -> None:
        self.sites = dict(sites)
        self.sees_latents = all(getattr(site, "sees_latents", True) for site in sites.values())

    def bindings(self, session: Session, name: str = "") -> Bindings:
        """See `Site.bindings`."""
        return [bound for model, site in self.sites.items() for bound in site.bindings(session, model)]

    def cached_modules(self, name: str = "") -> CachedModules:
        """See `Site.cached_modules`."""
        return self.sites[name].cached_modules()
