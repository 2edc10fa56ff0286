"""`enable`, `disable` and `cached`: a cache on a pipeline of diffusers, or on a model by itself."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from navicache.log import Log, NavicacheWarning
from navicache.report import CallReport
from navicache.schedules import about_pipeline, check_target
from navicache.settings import Settings, make_settings
from navicache_cli.cache.policies.policy import check_count
from navicache_cli.cache.session.record import StepRecord
from navicache_cli.cache.session.session import Session
from navicache_cli.cache.sites.binding import bound_to
from navicache_cli.cache.sites.model_site import ModelSite
from navicache_cli.cache.sites.overlay import overlaid
from navicache_cli.cache.sites.pipeline_site import PipelineSite, is_pipeline
from navicache_cli.errors import UsageError

__all__ = ["Cache", "NavicacheWarning", "cached", "disable", "enable"]


class Cache:
    """The handle of a cache that is on; made by `enable` and `cached`.

    Attributes:
        enabled: False once it has been disabled; the reports stay.
    """

    def __init__(self, settings: Settings, target: str) -> None:
        self.enabled = True
        self._settings = settings
        self._target = target
        self._log = Log(settings)
        self._site: PipelineSite | ModelSite | None = None
        self._session: Session | None = None  # of a model by itself

    @property
    def reports(self) -> list[CallReport]:
        """Of each call of the pipeline, or each generation of a model that is over; the oldest first.

        They hold no tensors. Of more than 100 the oldest are dropped.
        """
        return list(self._log.reports)

    def report(self) -> CallReport:
        """Of the last call; of a model by itself, of the generation that runs, or ran last."""
        if self._session is not None and self._session.records:
            session = self._session
            if len(session.records) == session.total_steps:
                session.finish()
            return self._log.so_far(session)
        return self._log.reports[-1] if self._log.reports else CallReport([])

    def begin(self, steps: int) -> None:
        """Say that a generation of `steps` steps starts. For a model by itself; a pipeline says so.

        Raises:
            UsageError: `steps` is not a whole number of at least 1, or this is the cache of a pipeline.
        """
        check_count(steps, "steps", 1, hint="pass the number of steps the sampler will take")
        _, site = self._only_of_a_model("begin")
        site.renew()
        self.end()
        self._session = self._log.begin_loop(steps)

    def step(self, index: int, time: float | None = None) -> None:
        """Say that the calls that follow belong to step `index`, whatever timestep they carry.

        Args:
            index: from 0; going back to 0 starts a new generation. A step may be told again.
            time: where the sampler is, in units that only rise or only fall, such as its timestep or sigma;
                may be left out where the steps are even.

        Raises:
            UsageError: there is no such step, it lies before the present one, or this is the cache of a
                pipeline, whose scheduler tells the steps.
        """
        session, site = self._only_of_a_model("step")
        site.renew()
        session.step(index, time)

    def branch(self, name: Hashable) -> AbstractContextManager[None]:
        """Say that calls within belong to the branch `name`: of the guidance, or a window of the frames.

        A skipped call is predicted from earlier calls of the same branch alone. Each branch is called once a
        step. Without names, branches are told by the order of their calls in a step.
        """
        if self._site is None:
            raise _disabled()
        return self._site.names.branch(name)

    def end(self) -> None:
        """Say that a generation is over: its report is made, and its tensors are dropped."""
        session = self._session
        if session is not None and session.records:
            session.finish()
            session.begin(session.total_steps)

    def disable(self) -> None:
        """Take the cache off again; nothing of it stays on the pipeline or the model. The reports stay."""
        site, self._site = self._site, None
        self.enabled = False
        if site is not None:
            site.release()
        self.end()
        self._session = None

    def __repr__(self) -> str:
        state = "" if self.enabled else ", disabled"
        head = f"<navicache on {self._target}: {self._settings}{state}>"
        return f"{head}\n{self._log.reports[-1]}" if self._log.reports else head

    def _only_of_a_model(self, name: str) -> tuple[Session, ModelSite]:
        if self._site is None:
            raise _disabled()
        if self._session is None or not isinstance(self._site, ModelSite):
            raise UsageError(
                f"expected a cache on a model by itself, found {name}() on the cache of {self._target}",
                hint="its scheduler tells the steps; name windows or branches with cache.branch(name)",
            )
        return self._session, self._site

    def _attach(self, target: Any, steps: int | None, inputs: str | None, timestep: str | None) -> None:
        if is_pipeline(target):
            if self._settings.schedules is not None:
                self._log.about = partial(about_pipeline, self._settings.schedules, target)
            self._site = PipelineSite(target, self._log, self)
            return
        assert steps is not None, "a model by itself, without steps"
        session = self._session = self._log.begin_loop(steps)
        self._site = ModelSite(target, lambda: self._session or session, self, inputs, timestep)


def enable(
    target: Any,
    *,
    speedup: float | None = None,
    compute: float | None = None,
    threshold: float | None = None,
    mode: str | None = None,
    max_error: float | None = None,
    method: str = "navicache",
    predictor: str | None = None,
    estimator: str = "scalar",
    align_steps: int | None = None,
    schedule: str | Path | None = None,
    on_step: Callable[[StepRecord], None] | None = None,
    steps: int | None = None,
    inputs: str | None = None,
    timestep: str | None = None,
) -> Cache:
    """Cache the transformer's output in all calls of a pipeline, until `disable`.

    Give at most one of speedup, compute, threshold and mode; without any, speedup is 2.

    Args:
        target: a pipeline of diffusers; or a model by itself, whoever calls it.
        speedup: how many times fewer steps run the model: of 50 steps 2 computes 25.
        compute: the same as a share of the steps, above 0, at most 1.
        threshold: of the accumulated relative error at which a step is computed; a larger one skips more.
        mode: "fast", "mid" or "slow", the published threshold of a model that has one; "off" for none.
        max_error: relative error expected of the final latents beyond which nothing more is skipped.
        method: "navicache", "easycache", or "off", which computes every step.
        predictor: how skipped outputs are rebuilt: "calibrated" (on a budget the default, and what measures
            best), "residual" (the published one, the default under a threshold) or "hold".
        estimator: "scalar", the published filter, or "dual".
        align_steps: how many first steps are computed in any case; left out, as many as suit the rest.
        schedule: a file of `navicache schedule`; its steps for the speedup are computed, and no others.
        on_step: called with the record of each step when that is over.
        steps: of a model by itself: how many steps its sampler takes.
        inputs: of a model by itself: the parameter of its forward that is the latents. Left out, it is found.
        timestep: of a model by itself: the parameter of its forward that tells the step, likewise.

    Returns:
        The handle: `report()`, `reports`, `branch(name)`, `disable()`.

    Raises:
        UsageError: an argument is wrong, or contradicts another.
        SiteError: a cache is on already, the target is neither, or its forward is not as expected.
    """
    if mode is not None:
        from navicache.modes import mode_values

        given = {"speedup": speedup, "compute": compute, "threshold": threshold}
        for name, value in given.items():
            if value is not None:
                raise UsageError(f"expected {name} or mode, found both", hint=f"leave {name} out, or mode")
        values = mode_values(target, mode)
        method = values.get("method", method)
        threshold = values.get("threshold")
        align_steps = values.get("align_steps") if align_steps is None else align_steps
    settings = make_settings(
        speedup=speedup,
        compute=compute,
        threshold=threshold,
        max_error=max_error,
        method=method,
        predictor=predictor,
        estimator=estimator,
        align_steps=align_steps,
        on_step=on_step,
        schedule=schedule,
    )
    pipeline = is_pipeline(target)
    if not pipeline and not isinstance(target, nn.Module):
        raise UsageError(
            f"expected a pipeline of diffusers or a torch module, found {type(target).__name__}",
            hint="navicache.enable(pipe, speedup=2)",
        )
    for name, given_value in {"steps": steps, "inputs": inputs, "timestep": timestep}.items():
        if pipeline and given_value is not None:
            raise UsageError(
                f"{name} expects a model by itself, found a pipeline, which tells that itself",
                hint=f"leave {name} out",
            )
    if not pipeline:
        if steps is None:
            raise UsageError(
                "expected the number of steps that the sampler of this model takes, found none",
                hint="navicache.enable(model, steps=50)",
            )
        check_count(steps, "steps", 1, hint="navicache.enable(model, steps=50)")
    if settings.schedules is not None:
        check_target(settings.schedules, target)
    cache = Cache(settings, type(target).__name__)
    cache._attach(target, steps, inputs, timestep)
    return cache


def disable(target: Any) -> None:
    """Take the cache off a pipeline or a model; nothing of it stays there.

    Raises:
        UsageError: there is none.
    """
    found = bound_to(target) if isinstance(target, nn.Module) else overlaid(target)
    if not isinstance(found, Cache):
        raise UsageError(
            f"expected {type(target).__name__} with a cache enabled, found none",
            hint="disable what navicache.enable() was given",
        )
    found.disable()


@contextmanager
def cached(target: Any, **settings: Any) -> Iterator[Cache]:
    """The cache is on within the `with` block; the arguments are those of `enable`."""
    cache = enable(target, **settings)
    try:
        yield cache
    finally:
        cache.disable()


def _disabled() -> UsageError:
    return UsageError("expected a cache that is on, found one disabled", hint="navicache.enable() it again")
