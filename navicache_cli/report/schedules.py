"""The file that `navicache schedule` writes: which steps to compute, by budget, and where that holds."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from navicache_cli.cache.policies.budget import planned_steps
from navicache_cli.cache.policies.scheduled import COMPUTED, read_strip
from navicache_cli.errors import OutputError, UsageError
from navicache_cli.reading import expand_user, read_utf8
from navicache_cli.report.documents import Amount, Document, Part, Positive, as_document, plain
from navicache_cli.yaml_core import parse_yaml

SCHEDULES_VERSION = 1
MOST_BYTES = 1 << 20
MAKE_AGAIN = "make it again: navicache schedule"


class Schedule(Part, frozen=True):
    """The steps to compute on one budget."""

    speedup: Annotated[float, Meta(ge=1, description="all steps over computed steps, as asked for")]
    computed: Annotated[
        str,
        Meta(pattern="^#([#.]*#)?$", max_length=1000, description="of each step: # computed, . skipped"),
    ]
    error: Annotated[
        Amount,
        Meta(description="largest error on a recorded path, grown to the end, relative to the latents: mean"),
    ]

    @property
    def steps(self) -> tuple[bool, ...]:
        """For each step whether it is computed."""
        return read_strip(self.computed)


class Schedules(Document, frozen=True, kw_only=True):
    """Schedules found on recorded generations of one model, sampler and guidance."""

    NAME: ClassVar[str] = "schedule"
    HINT: ClassVar[str] = MAKE_AGAIN

    source: Annotated[str, Meta(description="what made the file")]
    model: str
    task: str
    name: Annotated[str, Meta(description="the model's, as reports have it")]
    weights_digest: str
    steps: Annotated[int, Meta(ge=1, le=1000)]
    solver: str
    shift: float
    guidance: float
    size: Annotated[str, Meta(description="of the recorded videos; any other will do")]
    frames: Annotated[int, Meta(ge=0, description="of the recorded videos; any other number will do")]
    predictor: Annotated[str, Meta(description="what rebuilds the skipped outputs")]
    recordings: Positive
    schedules: Annotated[list[Schedule], Meta(min_length=1, max_length=1000)]
    version: int = SCHEDULES_VERSION

    def on_budget(self, share: float, source: str) -> tuple[bool, ...]:
        """The schedule that computes this share of the steps.

        Args:
            share: of the steps to compute; 0 where no budget is asked for.
            source: what the file is called in messages.

        Raises:
            UsageError: there is none.
        """
        wanted = planned_steps(self.steps, share) if share else 0
        for schedule in self.schedules:
            if schedule.computed.count(COMPUTED) == wanted:
                return schedule.steps
        held = ", ".join(f"{one.speedup:g}" for one in self.schedules)
        found = f"{1 / share:.3g}, {wanted} of {self.steps} steps" if share else "none"
        raise UsageError(
            f"expected a speedup that {source} has a schedule for ({held}), found {found}",
            f"--speedup {self.schedules[0].speedup:g}, or make one: navicache schedule --speedup …",
        )


def schedules_text(document: Schedules) -> str:
    """The document as it is written to files, checked as if it were read from there.

    Raises:
        OutputError: it does not fit its definition.
    """
    import yaml

    values = plain(document)
    _checked(json.loads(json.dumps(values)))
    text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=10_000)
    return text


def read_schedules(path: str | Path) -> Schedules:
    """Read a file of schedules.

    Raises:
        UsageError: it cannot be read, or is no such file; the message says which key.
    """
    try:
        return _parsed(read_utf8(expand_user(path), MOST_BYTES))
    except OSError as error:
        raise UsageError(f"cannot read the schedule {path}: {error.strerror}", "check the path") from None
    except ValueError as error:
        raise UsageError(f"cannot read the schedule {path}: {error}", MAKE_AGAIN) from None
    except OutputError as error:
        raise UsageError(f"{path}: {error.message}", error.hint) from None


@lru_cache(maxsize=8)
def _parsed(text: str) -> Schedules:
    """Kept, as every row of a batch may name the same file."""
    return _checked(parse_yaml(text))


def _checked(values: Any) -> Schedules:
    document = as_document(values, Schedules)
    for schedule in document.schedules:
        if len(schedule.computed) != document.steps:
            raise OutputError(
                f"expected schedules of {document.steps} steps, found one of {len(schedule.computed)}",
                MAKE_AGAIN,
            )
    return document
