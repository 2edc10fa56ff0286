"""What a model family must offer, and how a third party adds one.

A package has an entry point in the group `navicache.backends`, NAME = "package.module:Class". It says three
things: the value of `--model`; the class, a `Backend`; and where the preset is, the file NAME.yaml in the
package that the module is in. The preset is read without importing the package; its form is described by
`navicache_cli/report/schemas/preset.schema.json`. Files of magnitude ratios that it names, magcache-….json,
and of schedules, schedule-NAME-TASK.yaml, lie beside it. `examples/plugin` is a whole one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from navicache_cli.cache.policies.policy import Region

if TYPE_CHECKING:
    from torch import Tensor

    from navicache_cli.cache.sites.site import BindsItself, Site
    from navicache_cli.plan.layers import Layer
    from navicache_cli.plan.plan import Plan
    from navicache_cli.report.report import ModelIdentity


DECODE = "decode"


class Stages:
    """Stop-watch over the stages of one generation; a stage lasts until the next one starts.

    Args:
        before_decode: called when `decode` is about to start.

    Attributes:
        seconds: of the wall clock, by stage.
        cpu_seconds: CPU time of this process, all its threads together, by stage.
    """

    def __init__(self, before_decode: Callable[[], None] | None = None) -> None:
        self._before_decode = before_decode
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}
        self._name = ""
        self._since = (0.0, 0.0)

    def start(self, name: str) -> None:
        """End the stage that runs, if any, and start `name`; "" only ends."""
        if name == DECODE and self._before_decode is not None:
            self._before_decode()
        now = (time.perf_counter(), time.process_time())
        if self._name:
            for seconds, one, since in zip((self.seconds, self.cpu_seconds), now, self._since, strict=True):
                seconds[self._name] = seconds.get(self._name, 0.0) + one - since
        self._name, self._since = name, now


class Pipeline(Protocol):
    """A loaded model, ready for any number of generations.

    Where one forward has both branches of the guidance, and the conditional one is the first of the batch,
    the pipeline says so by an attribute `conditional_first`.

    Attributes:
        identity: which weights and code it is.
    """

    identity: ModelIdentity

    def site(self, region: Region = Region.OWN) -> Site | BindsItself:
        """Return where a method that works in `region` attaches.

        Methods of the paper and `off` ask for `Region.OWN`; the others only where the preset's `methods` list
        them. `navicache_cli.cache.Architecture` has them all.

        Raises:
            SiteError: the model has no such region.
        """

    def generate(self, plan: Plan, stages: Stages) -> Tensor:
        """Run the family's own sampler.

        Args:
            plan: what to generate.
            stages: told when `text`, `denoise` and `decode` start. At `decode`, after the last step, the
                cache drops all it keeps.

        Returns:
            Video [3, F, H, W], float, in [-1, 1]. Where several processes generate together, all but the
            first may return one without frames.
        """


class Backend(Protocol):
    """A model family; its class is called without arguments, its module imports nothing heavy.

    Attributes:
        name: as used with `--model`, and as its preset and its entry point are named.
    """

    name: str

    def problem(self) -> str:
        """Say in one line what is missing before this family can run here; "" when nothing is."""

    def check(self, plan: Plan) -> list[str]:
        """Check what only this family knows, before anything is loaded.

        Returns:
            Notes for the user, such as words that will be ignored.

        Raises:
            UsageError: the plan asks for something this family cannot do.
        """

    def load(self, plan: Plan) -> Pipeline:
        """Load weights and build the family's own pipeline.

        A family that is no faster with all threads of the CPU says so here, by `threads.use_at_most`.

        Raises:
            BackendError: code is missing.
            WeightsError: weights are missing or damaged.
        """


class KnowsDefaults(Protocol):
    """What a backend offers too if its preset says `defaults_in_weights: true`."""

    def defaults(self, asked: Mapping[str, str]) -> list[Layer]:
        """Find defaults in the weights, without loading them.

        Args:
            asked: options that the user named, among those that a model is loaded by, such as `weights`, and
                `mode`, `threshold`, `speedup` and `compute`.

        Returns:
            Layers between the preset and what the user says, weakest first; the plan shows their labels.

        Raises:
            UsageError: no weights are named, or the mode is none of theirs.
            BackendError: a package is missing.
            WeightsError: there are no such weights.
        """
