"""What of a model the methods can attach to: declared once for each model family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from navicache_cli.cache.attention_site import AttentionSite
from navicache_cli.cache.policy import Region
from navicache_cli.cache.site import ForwardSite, Site
from navicache_cli.cache.stack_site import Modulation, StackSite
from navicache_cli.errors import SiteError


@dataclass(frozen=True)
class Anatomy:
    """The parts of a model.

    Attributes:
        model: the model.
        timestep, inputs: names of the parameters of its forward that tell the step, and that are x.
        whole: whether its own region is the whole forward; else it is the stack of blocks.
        blocks, hidden, beside, modulation: see `StackSite`.
        attentions: see `AttentionSite`; empty where attentions are no modules.
    """

    model: nn.Module
    timestep: str
    inputs: str
    blocks: Sequence[nn.Module]
    whole: bool = True
    hidden: str | int = 0
    beside: str | None = None
    modulation: Modulation | None = None
    attentions: Mapping[str, Sequence[nn.Module]] = field(default_factory=dict)

    def site(self, region: Region) -> Site:
        """The site of a region.

        Raises:
            SiteError: the model has no such region.
        """
        if region is Region.OWN and self.whole:
            return ForwardSite(self.model, self.timestep, self.inputs)
        if region in (Region.OWN, Region.STACK):
            return self._stack(head=0)
        if region is Region.TAIL:
            return self._stack(head=1)
        if not self.attentions:
            raise SiteError(
                f"expected attentions that are modules, {type(self.model).__name__} has none",
                hint="choose another --method",
            )
        return AttentionSite(self.model, self.attentions, self.timestep, self.inputs)

    def _stack(self, head: int) -> StackSite:
        return StackSite(
            self.model, self.blocks, self.timestep, self.hidden, self.beside, self.modulation, head
        )
