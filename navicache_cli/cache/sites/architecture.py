"""What of a model the methods can attach to: declared once for each model family."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import nn

from navicache_cli.cache.policies.policy import Region
from navicache_cli.cache.sites.attention_site import AttentionSite
from navicache_cli.cache.sites.site import ForwardSite, Site
from navicache_cli.cache.sites.stack_site import Modulation, StackSite
from navicache_cli.errors import SiteError


@dataclass(frozen=True)
class Architecture:
    """The parts of a model. Blocks and attentions are looked up only for methods that work on them.

    Attributes:
        model: the model.
        timestep, inputs: names of the parameters of its forward that tell the step, and that are x.
        blocks: gives the blocks in the order they run.
        whole: whether the model's own region is the whole forward; else it is the stack of blocks.
        hidden, beside, modulation: see `StackSite`.
        attentions: gives kind to attentions, see `AttentionSite`; None where these are no modules.
    """

    model: nn.Module
    timestep: str
    inputs: str
    blocks: Callable[[], Iterable[nn.Module]]
    whole: bool = True
    hidden: str | int = 0
    beside: str | None = None
    modulation: Modulation | None = None
    attentions: Callable[[], Mapping[str, Iterable[nn.Module]]] | None = None

    def site(self, region: Region) -> Site:
        """The site of a region.

        Raises:
            SiteError: the model has no such region.
        """
        if region is Region.OWN and self.whole:
            return ForwardSite(self.model, self.timestep, self.inputs)
        try:
            if region is Region.ATTENTION:
                return self._attentions()
            return self._stack(head=1 if region is Region.TAIL else 0)
        except AttributeError as error:
            raise SiteError(
                f"expected {type(self.model).__name__} with {region.value}: {error}",
                hint="check out the tested commit of the repository, or choose another method",
            ) from None

    def _stack(self, head: int) -> StackSite:
        return StackSite(
            self.model, self.blocks(), self.timestep, self.hidden, self.beside, self.modulation, head
        )

    def _attentions(self) -> AttentionSite:
        if self.attentions is None:
            raise SiteError(
                f"expected {type(self.model).__name__} with attentions that are modules, found none",
                hint="choose another method",
            )
        return AttentionSite(self.model, self.attentions(), self.timestep, self.inputs)
