"""What a peer's generation cost: which parts of the blocks really ran, and the tensors its cache held.

A cache of another library replaces forwards, so calls of a block say nothing. What is counted are calls of
the first layer inside each attention and feed-forward, which only runs where the part itself does; each
counts with its share of a forward's arithmetic, as in `work`. What is outside these parts counts as run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from navicache_cli.compare.work import count_operations
from navicache_cli.report.report import StepReport, Totals

if TYPE_CHECKING:
    from torch import nn

    from navicache_cli.plan.plan import Plan
    from navicache_cli.report.peak_memory import Peak

_HALF = 0.5
_LIBRARIES = ("diffusers", "cache_dit")


def parts_of(model: Any) -> list[tuple[nn.Module, nn.Module]]:
    """Every attention and feed-forward of a `WanTransformer3DModel`, each with its first layer."""
    return [
        pair
        for block in model.blocks
        for pair in (
            (block.attn1, block.attn1.to_q),
            (block.attn2, block.attn2.to_q),
            (block.ffn, block.ffn.net[0]),
        )
    ]


def count_shares(model: Any, generate: Callable[[], Any]) -> list[float]:
    """Share of each of the `parts_of` a model in its work, counted while `generate` runs it uncached."""
    counted = count_operations(model, generate)
    return [counted[part] / counted[model] for part, _ in parts_of(model)]


class PeerMeter:
    """Follows one generation.

    Args:
        models: that will run, called by keywords, one branch of the guidance after the other; a cache may be
            switched on before or after.
        shares: of each part in a forward's work, see `count_shares`.
        plan: what will be generated.

    Attributes:
        cache_bytes: what the cache held after the step before the last.
    """

    def __init__(self, models: Sequence[Any], shares: list[float], plan: Plan) -> None:
        self.cache_bytes = 0
        self._models = models
        self._steps = plan.steps
        self._branches = 1 if plan.guidance == 1 else 2
        self._outside = 1 - sum(shares)
        self._work = self._outside
        self._timesteps: list[float] = []
        self._of_steps: list[list[float]] = []  # work of each forward, step by step
        for model in models:
            for (_, first), share in zip(parts_of(model), shares, strict=True):
                first.register_forward_hook(self._adder(share))
            model.register_forward_hook(self._after_forward, with_kwargs=True)

    def _adder(self, share: float) -> Callable[..., None]:
        def add(*_: Any) -> None:
            self._work += share

        return add

    def _after_forward(self, model: Any, arguments: Any, options: dict[str, Any], output: Any) -> None:
        if not self._of_steps or len(self._of_steps[-1]) == self._branches:
            self._of_steps.append([])
            self._timesteps.append(float(options["timestep"].flatten()[0]))
        self._of_steps[-1].append(self._work)
        self._work = self._outside
        # Some caches drop everything at the end.
        if len(self._of_steps) == self._steps - 1:
            self.cache_bytes = max(self.cache_bytes, held_bytes(self._models))

    def compute_ratio(self) -> float:
        """Share of the work of all its own steps that the generation did; forwards not called did none."""
        done = sum(work for of_step in self._of_steps for work in of_step)
        return _rounded(done / (self._steps * self._branches))

    def step_reports(self) -> list[StepReport]:
        """Each step; computed are those that did at least half of their work."""
        return [
            StepReport(
                index=index,
                timestep=self._timesteps[index],
                computed=_mean(work) >= _HALF,
                forced=False,
                seconds=None,
                ratio=None,
                variance=None,
                innovation=None,
                predicted_change=None,
                accumulated_error=None,
            )
            for index, work in enumerate(self._of_steps)
        ]

    def totals(self, peak_memory: Peak) -> Totals:
        """Sums over the steps; calls of the transformer count as the steps do."""
        steps = len(self._of_steps)
        computed = sum(_mean(work) >= _HALF for work in self._of_steps)
        calls = [work for of_step in self._of_steps for work in of_step]
        ran = sum(work >= _HALF for work in calls)
        return Totals(
            steps=steps,
            computed_steps=computed,
            skipped_steps=steps - computed,
            skip_ratio=(steps - computed) / steps,
            compute_ratio=self.compute_ratio(),
            transformer_calls=ran,
            transformer_calls_saved=len(calls) - ran,
            cache_bytes=self.cache_bytes,
            peak_memory_bytes=peak_memory.bytes,
            peak_memory_of=peak_memory.of,
            speedup_bound=steps / max(computed, 1),
        )


def _mean(values: list[float]) -> float:
    return _rounded(sum(values) / len(values))


def _rounded(share: float) -> float:
    # Shares that add up to 1 do so but for the last digit.
    return round(share, 9)


def held_bytes(models: Iterable[nn.Module]) -> int:
    """Bytes of all tensors that caches in these models hold, each counted once; weights are not."""
    import torch

    found: dict[int, int] = {}
    seen: set[int] = set()
    waiting: list[Any] = []
    for model in models:
        waiting.append(getattr(model, "_context_manager", None))  # cache-dit's
        for module in model.modules():
            registry: Any = getattr(module, "_diffusers_hook", None)
            waiting += [] if registry is None else registry.hooks.values()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, torch.Tensor):
            storage = one.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
        elif isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, (list, tuple, set)):
            waiting += one
        elif type(one).__module__.startswith(_LIBRARIES) and not isinstance(one, torch.nn.Module):
            waiting += vars(one).values() if hasattr(one, "__dict__") else ()
    return sum(found.values())
