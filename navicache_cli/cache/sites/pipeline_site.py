"""A whole pipeline of diffusers: its models, its scheduler, and its calls. Needs no import of diffusers."""

from __future__ import annotations

from functools import wraps
from typing import Any, Protocol

from torch import nn

from navicache_cli.cache.session.session import Session
from navicache_cli.cache.session.told import Names
from navicache_cli.cache.sites.context import ContextWatch
from navicache_cli.cache.sites.denoiser import Denoiser, Place, refuse_other_cache
from navicache_cli.cache.sites.loop import Loop, step_times
from navicache_cli.cache.sites.overlay import Method, Overlay, overlaid
from navicache_cli.errors import SiteError

_MODELS = ("transformer", "unet")  # begin the names of the models that denoise


class Listener(Protocol):
    """Whoever has a pipeline run under sessions."""

    def begin_call(self) -> None:
        """The pipeline is called."""

    def begin_loop(self, steps: int) -> Session:
        """A loop of that many steps begins: the session to accompany it."""

    def last_step(self) -> None:
        """The last step of a loop is over; the call may go on, to decode for one."""

    def end_loop(self, loop: Loop) -> None:
        """A loop is over, and nothing is kept of it but its records."""

    def end_call(self, uncached: int) -> None:
        """The call has returned; in it so many calls of its models belonged to no loop.

        Also when a loop is over that ran outside any call.
        """


class PipelineSite:
    """Everything of one pipeline that is bound, until `release`.

    The scheduler tells the steps: setting its timesteps starts a loop, and a step of it, or of a copy of it,
    ends a step. The name of a `cache_context` tells the branch. Every loop has a session of its own, which
    serves all models of the pipeline.

    Models and scheduler are looked up anew at each call of the pipeline: users replace them.

    Args:
        pipeline: as diffusers makes them.
        listener: is asked for sessions, and told of ends.
        owner: whose all this is, see `overlaid` and `bound_to`.

    Attributes:
        names: of the branch that calls belong to.

    Raises:
        SiteError: it is no such pipeline, a cache is on it already, or a model is not as expected.
    """

    def __init__(self, pipeline: Any, listener: Listener, owner: object) -> None:
        refuse_other(pipeline)
        self._pipeline = pipeline
        self._listener = listener
        self._owner = owner
        self._denoisers: dict[str, Denoiser] = {}
        self._contexts: dict[str, ContextWatch] = {}
        self._scheduler: Overlay | None = None
        self._calls: Overlay | None = None
        self._ready: Any = None  # scheduler whose timesteps have been set for a loop that has not begun
        self._loop: Loop | None = None
        self._uncached = 0
        self._in_call = False
        self.names = Names()
        try:
            self._look()
            self._calls = Overlay(pipeline, {"__call__": self._over_call}, owner)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Put everything back as it was, and drop what is kept."""
        self._drop_loop()
        for context in self._contexts.values():
            context.release()
        for denoiser in self._denoisers.values():
            denoiser.release()
        for overlay in (self._scheduler, self._calls):
            if overlay is not None:
                overlay.remove()
        self._contexts, self._denoisers = {}, {}
        self._scheduler = self._calls = None

    def _look(self) -> None:
        """Bind the models and the scheduler that the pipeline has now."""
        models = models_of(self._pipeline)
        for name, denoiser in list(self._denoisers.items()):
            if models.get(name) is not denoiser.module:
                self._denoisers.pop(name).release()
                self._contexts.pop(name).release()
        for name, module in models.items():
            if name in self._denoisers:
                refuse_other_cache(module)
                self._denoisers[name].renew()
                self._contexts[name].renew()
            else:
                self._denoisers[name] = Denoiser(module, name, self._place, self._owner)
                self._contexts[name] = ContextWatch(module, self.names.branch)
        scheduler = self._pipeline.scheduler
        if self._scheduler is None or not self._scheduler.on(scheduler):
            if self._scheduler is not None:
                self._scheduler.remove()
            over = {"set_timesteps": self._over_set_timesteps, "step": self._over_step}
            self._scheduler = Overlay(scheduler, over, self._owner, copies=True)

    def _place(self) -> Place | None:
        """What a call of a model belongs to."""
        if self._ready is not None:
            scheduler, self._ready = self._ready, None
            # Outside a call it is what the last call took.
            steps = getattr(self._pipeline, "_num_timesteps", None) if self._in_call else None
            times = step_times(scheduler, steps)
            if times:
                session = self._listener.begin_loop(len(times))
                session.guidance = guidance_of(self._pipeline)
                self._loop = Loop(session, times)
        if self._loop is None or not self._loop.called():
            self._uncached += 1
            return None
        return Place(self._loop.session, self.names.names)

    def _end_loop(self) -> None:
        """The loop is over, whether or not it got to its end."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.end()
            self._listener.end_loop(loop)
            if not self._in_call:
                self._listener.end_call(0)

    def _drop_loop(self) -> None:
        """A loop was broken off: nothing of it stays."""
        loop, self._loop, self._ready = self._loop, None, None
        if loop is not None:
            loop.session.clear()

    def _over_set_timesteps(self, beneath: Method) -> Method:
        @wraps(beneath)
        def set_timesteps(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
            found = beneath(scheduler, *args, **kwargs)
            self._end_loop()
            # A copy has the same timesteps, but the pipeline may only say of its own where it starts.
            if self._ready is None or scheduler is self._pipeline.scheduler:
                self._ready = scheduler
            return found

        return set_timesteps

    def _over_step(self, beneath: Method) -> Method:
        @wraps(beneath)
        def step(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
            found = beneath(scheduler, *args, **kwargs)
            if self._loop is not None:
                self._loop.stepped()
                if self._loop.over:
                    self._listener.last_step()
                if self._loop.over and not self._in_call:
                    self._end_loop()
            return found

        return step

    def _over_call(self, beneath: Method) -> Method:
        @wraps(beneath)
        def call(pipeline: Any, *args: Any, **kwargs: Any) -> Any:
            if pipeline is not self._pipeline:
                return beneath(pipeline, *args, **kwargs)
            self._drop_loop()
            self._look()
            self._uncached = 0
            self._listener.begin_call()
            self._in_call = True
            try:
                found = beneath(pipeline, *args, **kwargs)
                self._end_loop()
            except BaseException:
                self._drop_loop()
                raise
            finally:
                self._in_call = False
            if self._calls is not None:  # not released meanwhile
                self._listener.end_call(self._uncached)
            return found

        return call


def is_pipeline(target: object) -> bool:
    """Whether `target` is a pipeline, as diffusers makes them."""
    return callable(target) and hasattr(target, "scheduler") and hasattr(target, "components")


def refuse_other(pipeline: Any) -> None:
    """Check that a pipeline has models that denoise, a scheduler, and no cache of ours.

    Raises:
        SiteError: it has not.
    """
    if overlaid(pipeline) is not None or overlaid(pipeline.scheduler) is not None:
        raise SiteError(
            f"expected {type(pipeline).__name__} without a cache, found one enabled on it or its scheduler",
            hint="navicache.disable(pipe) first",
        )
    lacking = [name for name in ("set_timesteps", "step") if not hasattr(pipeline.scheduler, name)]
    if lacking or not models_of(pipeline):
        raise SiteError(
            f"expected a pipeline with a transformer and a scheduler, found {type(pipeline).__name__}",
            hint="enable the cache on its transformer: navicache.enable(model, steps=50)",
        )


def models_of(pipeline: Any) -> dict[str, nn.Module]:
    """The models that denoise, by their names in the pipeline."""
    names = [name for name in pipeline.components if name.startswith(_MODELS)]
    found = {name: getattr(pipeline, name) for name in names}
    return {name: module for name, module in found.items() if isinstance(module, nn.Module)}


def guidance_of(pipeline: Any) -> float | None:
    """The scale by which a pipeline combines two branches in this call; None where it has no two."""
    if getattr(pipeline, "do_classifier_free_guidance", None) is not True:
        return None
    scale = getattr(pipeline, "guidance_scale", None)
    return float(scale) if isinstance(scale, int | float) else None
