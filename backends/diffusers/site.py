"""Where the cache attaches: the library's machinery for pipelines, with the one session of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from navicache_cli.cache.sites.pipeline_site import PipelineSite, models_of
from navicache_cli.cache.sites.site import SKIPPED, CachedModules
from navicache_cli.errors import SiteError, UsageError

if TYPE_CHECKING:
    from navicache_cli.cache.session.record import StepRecord
    from navicache_cli.cache.session.session import Session
    from navicache_cli.cache.sites.loop import Loop


class WholePipeline:
    """A site over a pipeline: its scheduler tells the steps, its models run under one session.

    Args:
        pipe: of diffusers.
        on_stage: told `denoise` and `decode` as they start.
    """

    def __init__(self, pipe: Any, on_stage: Callable[[str], None]) -> None:
        self._pipe = pipe
        self._on_stage = on_stage

    @contextmanager
    def bound(self, session: Session) -> Iterator[None]:
        """See `navicache_cli.cache.sites.site.BindsItself`."""
        site = PipelineSite(self._pipe, _OneSession(session, self._on_stage), self)
        try:
            yield
        finally:
            site.release()

    def cached_modules(self, name: str = "") -> CachedModules:
        """See `Site.cached_modules`: a whole model, the first where none is named."""
        models = models_of(self._pipe)
        model = models[name] if name else next(iter(models.values()))
        return model, {SKIPPED: [model]}


class _OneSession:
    """Listens to a pipeline for one session; see `pipeline_site.Listener`.

    Of a sampler that makes a video in several loops, the session has the records of all in the end.
    """

    def __init__(self, session: Session, on_stage: Callable[[str], None]) -> None:
        self._session = session
        self._on_stage = on_stage
        self._earlier: list[_Sums] = []
        self._began = False

    def begin_call(self) -> None:
        self._earlier, self._began = [], False

    def begin_loop(self, steps: int) -> Session:
        session = self._session
        if self._began and session.recorder is not None:
            raise UsageError(
                "a recording expects a sampler that makes the video in one loop, found one with several",
                "drop --trajectory; there are no schedules for such samplers",
            )
        if self._began:
            self._earlier.append(_sums(session))
            session.error_estimate.several_loops = True
        self._began = True
        self._on_stage("denoise")
        session.begin(steps)
        return session

    def last_step(self) -> None:
        self._on_stage("decode")

    def end_loop(self, loop: Loop) -> None:
        """See `last_step`; a loop that got to no last step is followed by no more than a decoding."""
        self._on_stage("decode")

    def end_call(self, uncached: int) -> None:
        if not self._began:
            raise SiteError(
                "expected a scheduler that announces its steps before the model is called, "
                f"found {uncached} calls of the model and no steps",
                "load the pipeline yourself, and enable the cache on its transformer: "
                "navicache.enable(pipe.transformer, steps=50)",
            )
        session = self._session
        whole = [*self._earlier, _sums(session)]
        session.records[:] = [
            replace(record, index=index)
            for index, record in enumerate(record for one in whole for record in one.records)
        ]
        session.transformer_calls = sum(one.calls for one in whole)
        session.transformer_calls_saved = sum(one.calls_saved for one in whole)
        session.peak_cache_bytes = max(one.peak_cache_bytes for one in whole)


class _Sums(NamedTuple):
    """What a session knows of a loop that is over."""

    records: list[StepRecord]
    calls: int
    calls_saved: int
    peak_cache_bytes: int


def _sums(session: Session) -> _Sums:
    return _Sums(
        list(session.records),
        session.transformer_calls,
        session.transformer_calls_saved,
        session.peak_cache_bytes,
    )
