"""What the table of options says of each: how it is read, where it applies, and how its flag is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Flag, auto
from typing import Any, Final


class Use(Flag):
    """Where an option applies; see `ROLES` for those of which every option has exactly one."""

    SUBJECT = auto()  # what the video is of; one setting makes many
    VIDEO = auto()  # what else the video depends on, but for the cache
    CACHE = auto()  # which steps are skipped, and how they are predicted
    PLACE = auto()  # where the work is done: the same video, but for last bits
    MEASURED = auto()  # what is measured beside the video
    OUTPUT = auto()  # where files go

    FILE = auto()  # names files that the video is made from
    FAMILY = auto()  # only some families have it; a preset's `takes` names those of its own
    LOADS = auto()  # a model is loaded by it, so all videos of a batch have the same
    USER = auto()  # for the user alone to choose, not for a preset
    PARALLEL = auto()  # of several processes on one video, which only `generate` runs
    SECONDS = auto()  # the video takes other seconds with it, which a comparison measures
    SINGLE = auto()  # of one video alone
    BATCH = auto()  # of a batch as a whole: no column of its file
    COMPARED = auto()  # a comparison decides it itself
    PREDICTED = auto()  # of methods whose predictor may be chosen

    NONE = 0


ROLES = Use.SUBJECT | Use.VIDEO | Use.CACHE | Use.PLACE | Use.MEASURED | Use.OUTPUT
FROM_PRESET: Final = object()  # the default of an option that presets decide
Reader = Callable[[Any], Any]  # raises ValueError with what it expects


@dataclass(frozen=True)
class Range:
    """The numbers an option may be."""

    least: float
    most: float | None = None
    above: bool = False  # the least is none of them itself

    def holds(self, value: float) -> bool:
        fits = value > self.least if self.above else value >= self.least
        return fits and (self.most is None or value <= self.most)

    @property
    def expected(self) -> str:
        """The range in words."""
        if self.most is not None:
            return f"{self.least:g} to {self.most:g}"
        return f"more than {self.least:g}" if self.above else f"{self.least:g} or more"


@dataclass(frozen=True)
class Option:
    """A row of the table.

    Attributes:
        read: from text or YAML.
        use: where it applies.
        default: where nobody says anything, or `FROM_PRESET`.
        panel: of `--help`; "" for an option without a flag, which `--set` and the like take all the same.
        help: of the flag.
        metavar: what its value is called there, if not after its type.
        flags: its flags, if they are not `--name`, or `--name/--no-name` for a switch.
        variables: of the environment, beside NAVICACHE_<NAME>.
        range: if it is a number.
        choices: the names it may be, if there are no others.
        file: what kind of file it names, with `Use.FILE`.
        repeated: whether its flag may be given several times; it is then read from a list.
    """

    read: Reader
    use: Use
    default: Any
    panel: str
    help: str
    metavar: str | None = None
    flags: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    range: Range | None = None
    choices: tuple[str, ...] = ()
    file: str = ""
    repeated: bool = False

    def __post_init__(self) -> None:
        roles = self.use & ROLES
        if not roles or roles.value & (roles.value - 1):
            raise ValueError(f"expected exactly one of {ROLES}, found {roles} of {self.help!r}")
        if bool(self.file) != (Use.FILE in self.use):
            raise ValueError(f"Use.FILE and what file it is belong together, as in {self.help!r}")
