"""The site over the attentions of a model, whose outputs later steps may use again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from navicache_cli.cache.session.session import Session
from navicache_cli.cache.sites.arguments import Argument, as_tensors, find_argument
from navicache_cli.cache.sites.site import Forward
from navicache_cli.errors import SiteError


class AttentionSite:
    """Every attention of a model, by kinds. At a step that uses a kind again, none of that kind runs.

    Each attention maps hidden states, its first argument, to a tensor of their shape.

    Args:
        model: the model; its forward is bound to learn the step and the branch.
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

    def bindings(self, session: Session) -> list[tuple[nn.Module, Forward]]:
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
        bound = [(self.model, self._outer(session))]
        kinds = [(kind, module) for kind in wanted for module in self.attentions[kind]]
        for part, (kind, module) in enumerate(kinds):
            bound.append((module, _inner(session, module.forward, find_argument(module, 0), part, kind)))
        return bound

    def cached_modules(self) -> tuple[nn.Module, dict[str, list[nn.Module]]]:
        """See `Site.cached_modules`: the attentions by kind."""
        return self.model, self.attentions

    def _outer(self, session: Session) -> Forward:
        """The model's forward: a call of the region that is computed at every step."""
        original = self.model.forward
        timestep = find_argument(self.model, self.timestep)
        inputs = find_argument(self.model, self.inputs)

        def forward(*args: Any, **kwargs: Any) -> Any:
            x = as_tensors(inputs.value(args, kwargs), inputs)
            predicted = session.enter(timestep.value(args, kwargs), x)
            assert predicted is None, "a method that caches no step predicted one"
            output = original(*args, **kwargs)
            session.leave(())
            return output

        return forward


def _inner(session: Session, original: Forward, hidden: Argument, part: int, kind: str) -> Forward:
    """An attention's forward."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        (like,) = as_tensors(hidden.value(args, kwargs), hidden)
        call = session.computing
        kept = None if call is None else call.recall(part, kind, like)
        if kept is not None:
            return kept
        output = original(*args, **kwargs)
        if session.computing is not None:
            session.computing.part_ran(part, output)
        return output

    return forward
