"""The arguments of `enable`, checked, and the session they make for a number of steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from navicache_cli.cache.policies.budget import (
    check_budget,
    least_computed,
    most_align_steps,
    reachable,
    share_of,
)
from navicache_cli.cache.policies.factory import (
    ESTIMATORS,
    GENERAL_METHODS,
    METHODS,
    PREDICTED_METHODS,
    PREDICTORS,
    make_policy,
)
from navicache_cli.cache.policies.policy import PredictorSpec, check_count, check_threshold
from navicache_cli.cache.predictors.factory import maker_of
from navicache_cli.cache.session.error_estimate import check_max_error
from navicache_cli.cache.session.record import StepRecord
from navicache_cli.cache.session.session import Session
from navicache_cli.errors import UsageError
from navicache_cli.report.schedules import Schedules, read_schedules

SCHEDULE = "the schedule"  # in messages
_SPEEDUP = 2.0  # where nothing is asked for
# A threshold aligns with a fifth of the steps, as the presets do: 10 of 50.
_ALIGNED_SHARE = 5


@dataclass(frozen=True)
class Settings:
    """How to cache; see `navicache.enable` for each.

    Attributes:
        share: of the steps to compute, on a budget; 0 where a threshold decides.
        schedules: have one for that share, or None.
    """

    method: str
    predictor: str
    estimator: str
    share: float = 0.0
    threshold: float = 0.0
    align_steps: int | None = None
    max_error: float | None = None
    on_step: Callable[[StepRecord], None] | None = None
    schedules: Schedules | None = None

    def session(
        self, steps: int, on_end: Callable[[Session], None] | None = None
    ) -> tuple[Session, list[str]]:
        """A session for a loop of `steps` steps, and what its user should know of it.

        Raises:
            UsageError: the schedules are of another number of steps.
        """
        notes = []
        share, align = self.share, self.align_steps
        if align is None:
            align = most_align_steps(steps, share) if share else max(2, steps // _ALIGNED_SHARE)
        schedule = self.schedules.on_budget(share, SCHEDULE) if self.schedules else ()
        if share and not schedule and not reachable(steps, share, align):
            least = least_computed(steps, align)
            notes.append(
                f"{steps} steps cannot be made {1 / share:.3g}x faster: "
                f"the first {min(align, steps)} and the last are computed, {least} in all"
            )
            share = least / steps
        policy = make_policy(
            self.method,
            threshold=self.threshold,
            align_steps=align,
            estimator=self.estimator,
            compute=share,
            schedule=schedule,
        )
        predictor = maker_of(PredictorSpec(self.predictor))
        session = Session(policy, steps, predictor, self.on_step, max_error=self.max_error, on_end=on_end)
        return session, notes

    def __str__(self) -> str:
        if self.method == "off":
            return "off"
        how = f"speedup={1 / self.share:.3g}" if self.share else f"threshold={self.threshold:g}"
        limit = "" if self.max_error is None else f", max_error={self.max_error:g}"
        how += ", scheduled" if self.schedules else ""
        return f"{self.method}, {how}, predictor={self.predictor}{limit}"


def make_settings(
    *,
    speedup: float | None,
    compute: float | None,
    threshold: float | None,
    max_error: float | None,
    method: str,
    predictor: str | None,
    estimator: str,
    align_steps: int | None,
    on_step: Callable[[StepRecord], None] | None,
    schedule: str | Path | None,
) -> Settings:
    """Check the arguments of `enable`, and put defaults in the place of what was left out.

    Raises:
        UsageError: one is out of range, or two contradict each other.
    """
    _one_of("method", method, METHODS)
    if method not in GENERAL_METHODS:
        raise UsageError(
            f"expected a method that fits any model ({', '.join(GENERAL_METHODS)}), found {method!r}",
            hint="the command line runs it on the models that it knows: navicache generate --method",
        )
    _one_of("estimator", estimator, ESTIMATORS)
    if predictor is not None:
        _one_of("predictor", predictor, PREDICTORS)
    given = {"speedup": speedup, "compute": compute, "threshold": threshold}
    chosen = [name for name, value in given.items() if value is not None]
    if len(chosen) > 1:
        raise UsageError(
            f"expected one of speedup, compute, threshold and mode, found {' and '.join(chosen)}",
            hint="a speedup of 2 is a compute share of 0.5; either takes the place of a threshold",
        )
    for name, value in {**given, "max_error": max_error}.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            example = "speedup=2" if name == "speedup" else f"{name}=0.05"
            raise UsageError(f"{name} expects a number, found {value!r}", hint=f"such as {example}")
    if method not in PREDICTED_METHODS:
        if chosen or max_error is not None:
            told = chosen[0] if chosen else "max_error"
            raise UsageError(
                f"{told} expects a method that skips, found {method!r}", hint=f"leave {told} out"
            )
        if schedule is not None:
            raise UsageError(
                f"schedule expects a method that skips, found {method!r}", hint="leave schedule out"
            )
        return Settings(method, "residual", estimator, on_step=on_step)
    if max_error is not None:
        check_max_error(max_error)
    if align_steps is not None:
        check_count(align_steps, "align_steps", 0, hint="the presets compute the first 5 or 10 steps")
    if schedule is not None and threshold is not None:
        raise UsageError(
            "schedule expects a speedup, found a threshold or a mode", hint="speedup=2, one that the file has"
        )
    share = 0.0
    if threshold is not None:
        check_threshold(threshold)
    else:
        if compute is None:
            speedup = _SPEEDUP if speedup is None else speedup
            check_budget("speedup", speedup)
        else:
            check_budget("compute", compute)
        share = share_of(speedup or 0.0, compute or 0.0)
    schedules = None if schedule is None else read_schedules(schedule)
    if schedules is not None:
        schedules.on_budget(share, SCHEDULE)
    # Of the predictors, what measures best on a budget; thresholds were published with residual reuse.
    return Settings(
        method,
        predictor or ("calibrated" if share else "residual"),
        estimator,
        share,
        threshold or 0.0,
        align_steps,
        max_error,
        on_step,
        schedules,
    )


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(
            f"{name} expects one of {', '.join(known)}, found {value!r}", hint=f"{name}={known[0]!r}"
        )
