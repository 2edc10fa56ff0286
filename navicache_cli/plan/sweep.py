"""`--sweep METHOD.threshold=LOW:HIGH:COUNT`: evenly spaced values of one option of one method."""

from __future__ import annotations

import re
from dataclasses import dataclass

from navicache_cli.errors import UsageError
from navicache_cli.values import read_number

EVERY = "method"  # in the place of a method's name: each of those asked for
MOST_VALUES = 1000
# Method, option, low, high, count.
SWEEP_FORM = re.compile(r"([\w+:-]+)\.([\w-]+)=([^:=]+):([^:=]+):([^:=]+)")


@dataclass(frozen=True)
class Sweep:
    """One `--sweep`.

    Attributes:
        method: a method's name, or `EVERY`.
        thresholds: from low to high, both included, rounded to six decimals.
    """

    method: str
    thresholds: tuple[float, ...]

    def covers(self, method: str) -> bool:
        """Whether `method` is swept."""
        return self.method in (EVERY, method)


def parse_sweep(text: str) -> Sweep:
    """Read one `--sweep`.

    Raises:
        UsageError: it has another form, or the range makes no sense.
    """
    found = SWEEP_FORM.fullmatch(text.strip())
    if found is None or found[2] != "threshold" or not re.fullmatch(r"\d{1,6}", found[5]):
        raise _expected(text)
    try:
        low, high, count = read_number(found[3]), read_number(found[4]), int(found[5])
    except ValueError:
        raise _expected(text) from None
    if not (0 <= low <= high and 1 <= count <= MOST_VALUES):
        raise UsageError(
            f"sweep expects 0 <= LOW <= HIGH and a COUNT of 1 to {MOST_VALUES}, found {text[:60]!r}",
            "--sweep navicache.threshold=0.02:0.2:8",
        )
    return Sweep(found[1], tuple(sorted(set(evenly_spaced(low, high, count)))))


def evenly_spaced(low: float, high: float, count: int) -> list[float]:
    """Return `count` numbers from low to high; to six decimals, as nobody means 0.07142857142857142."""
    return [round(low + (high - low) * i / max(count - 1, 1), 6) for i in range(count)]


def _expected(text: str) -> UsageError:
    return UsageError(
        f"sweep expects METHOD.threshold=LOW:HIGH:COUNT, found {text[:60]!r}",
        "--sweep navicache.threshold=0.02:0.2:8",
    )
