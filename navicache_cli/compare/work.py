"""How much of a model's arithmetic a generation took, where a method saves something inside a forward.

The unit is the floating-point operation in matrix products, convolutions and attention, counted by
`torch.utils.flop_counter` in one forward of every kind without a cache. Norms, activations and additions are
not counted, and neither are kernels that PyTorch does not know, such as those of flash-attn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from backends.protocol import Pipeline
    from navicache_cli.cache import Session
    from navicache_cli.cache.sites.site import BindsItself, Site
    from navicache_cli.plan.plan import Plan


class WorkMeter:
    """Tells what share of the work of computing every step a generation did.

    Args:
        pipeline: the loaded model; generates once more, one step, when a share is asked for that the site
            does not tell by itself.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._operations: dict[nn.Module, dict[nn.Module, int]] = {}

    def compute_ratio(self, plan: Plan, session: Session) -> float:
        """Share of the work of its own steps that a finished generation did, between 0 and 1.

        Args:
            plan: what was generated.
            session: that accompanied it.
        """
        from navicache_cli.cache.sites.site import SKIPPED

        records = session.records
        if all(record.computed and not record.decision.reuse for record in records):
            return 1.0
        site = self._pipeline.site(session.policy.region)
        shares = {name: self._shares(site, name, plan) for name in {record.model for record in records}}
        saved = 0.0
        for record in records:
            kinds = record.decision.reuse if record.computed else [SKIPPED]
            saved += sum(shares[record.model][kind] for kind in kinds)
        return 1 - saved / len(records)

    def _shares(self, site: Site | BindsItself, name: str, plan: Plan) -> dict[str, float]:
        """Share of a model's work in each kind of module that the site can save."""
        model, kinds = site.cached_modules(name)
        if all(modules == [model] for modules in kinds.values()):
            return dict.fromkeys(kinds, 1.0)
        if model not in self._operations:
            short = plan.uncached(steps=1)
            self._operations[model] = count_operations(model, lambda: self._generate(short))
        counted = self._operations[model]
        # A model whose kernels cannot be counted: whole steps, and nothing inside them.
        total = counted[model]
        unknown = {kind: float(not kind) for kind in kinds}
        return {kind: sum(counted[m] for m in kinds[kind]) / total for kind in kinds} if total else unknown

    def _generate(self, plan: Plan) -> None:
        from backends.protocol import Stages

        self._pipeline.generate(plan, Stages())


def count_operations(model: nn.Module, run: Callable[[], Any]) -> dict[nn.Module, int]:
    """Call `run` and count the operations inside `model` and inside each of its modules."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

    # What PyTorch's own table leaves out: attention on a CPU.
    on_cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    counter = FlopCounterMode(
        display=False, custom_mapping={on_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v)}
    )
    found = dict.fromkeys(model.modules(), 0)
    at_entry: list[int] = []

    def enter(module: nn.Module, arguments: Any) -> None:
        at_entry.append(counter.get_total_flops())

    def leave(module: nn.Module, arguments: Any, output: Any) -> None:
        found[module] += counter.get_total_flops() - at_entry.pop()

    handles = [module.register_forward_pre_hook(enter) for module in found]
    handles += [module.register_forward_hook(leave) for module in found]
    try:
        with counter:
            run()
    finally:
        for handle in handles:
            handle.remove()
    return found
