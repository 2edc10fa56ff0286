"""The site over the attentions of a model, whose outputs later steps may use again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from navicache_cli.cache.session.session import Session
from navicache_cli.cache.sites.arguments import Argument, as_tensors, find_argument
from navicache_cli.cache.sites.binding import Around, Before
from navicache_cli.cache.sites.site import Bindings, CachedModules
from navicache_cli.errors import SiteError


class AttentionSite:
    """Every attention of a model, by kinds. At a step that uses a kind again, none of that kind runs.

    Each attention maps hidden states, its first argument, to a tensor of their shape.

    Args:
        model: the model; its calls are bound to learn the step and the branch.
        attentions: kind to the attentions of that kind.
        timestep: name of the parameter of the model's forward that tells the step.
        inputs: name of the parameter that is x.
    """

    def __init__(
        self,
        model: nn.Module,
        attentions: Mapping[str, Iterable[nn.Module]],
        timestep: str = "t",
        inputs: str = "x",
    ) -> None:
        self.model = model
        self.attentions = {kind: list(modules) for kind, modules in attentions.items()}
        self.timestep = timestep
        self.inputs = inputs

    def bindings(self, session: Session, name: str = "") -> Bindings:
        """See `Site.bindings`.

        Raises:
            SiteError: a forward lacks its parameter, the policy skips whole steps, or it uses a kind again
                that the model has not.
        """
        if session.policy.caches:
            raise SiteError(
                f"expected a method that works on attentions, found {session.policy.name}",
                hint="attach it to a ForwardSite or a StackSite",
            )
        wanted = getattr(session.policy, "broadcast", {})
        unknown = [kind for kind in wanted if kind not in self.attentions]
        if unknown:
            raise SiteError(
                f"expected attention of the kinds {', '.join(self.attentions)}, found {', '.join(unknown)}",
                hint=f"broadcast='{' '.join(f'{kind}=2' for kind in self.attentions)}'",
            )
        timestep = find_argument(self.model, self.timestep)
        inputs = find_argument(self.model, self.inputs)
        bound: Bindings = [(self.model, _Model(session, name, timestep, inputs))]
        kinds = [(kind, module) for kind in wanted for module in self.attentions[kind]]
        for part, (kind, module) in enumerate(kinds):
            bound.append((module, _Attention(session, find_argument(module, 0), part, kind)))
        return bound

    def cached_modules(self, name: str = "") -> CachedModules:
        """See `Site.cached_modules`: the attentions by kind."""
        return self.model, self.attentions


class _Model(Around):
    """Around the calls of the model: a call of the region that is computed at every step."""

    def __init__(self, session: Session, name: str, timestep: Argument, inputs: Argument) -> None:
        self._session = session
        self._name = name
        self._timestep = timestep
        self._inputs = inputs

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Before:
        """See `Around`."""
        x = as_tensors(self._inputs.value(args, kwargs), self._inputs)
        predicted = self._session.enter(self._timestep.value(args, kwargs), x, model=self._name)
        assert predicted is None, "a method that caches no step predicted one"
        return Before(False)

    def after(self, before: None, output: Any) -> None:
        """See `Around`."""
        self._session.leave(())


class _Attention(Around):
    """Around the calls of an attention, the part of this number."""

    def __init__(self, session: Session, hidden: Argument, part: int, kind: str) -> None:
        self._session = session
        self._hidden = hidden
        self._part = part
        self._kind = kind

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Before:
        """See `Around`."""
        (like,) = as_tensors(self._hidden.value(args, kwargs), self._hidden)
        call = self._session.computing
        kept = None if call is None else call.recall(self._part, self._kind, like)
        return Before(kept is not None, kept)

    def after(self, before: None, output: Any) -> None:
        """See `Around`."""
        if self._session.computing is not None:
            self._session.computing.part_ran(self._part, self._kind, output)
