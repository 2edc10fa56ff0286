"""Which steps to compute on a budget: a local search over schedules, each played on recorded generations."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from navicache_cli.cache.policies.policy import check_count
from navicache_cli.cache.predictors.predictor import MakePredictor
from navicache_cli.cache.recording.play import Play, played
from navicache_cli.cache.recording.recording import Recording, settled
from navicache_cli.errors import UsageError

# Moves tried for each budget; far more gain little.
MOVES = 1500
# So many first steps are computed, but no more than a quarter of all that are: what goes wrong there can turn
# the picture into another, and no recording says when.
_FIRST = 3
# What the last steps miss is never made good, which recordings show too little of: from this share of steps
# on, the last two are computed, if they fit beside the first.
_TWO_LAST = 0.4
# Most moves go no further than this, in steps: schedules get better by small shifts.
_NEAR = 3
_FAR_SHARE = 0.25
# So often two computed steps are moved at once, which leads on where no single move does.
_TWICE_SHARE = 0.3
# The logarithm of nothing, as on a recording whose outputs never change, would be minus infinity.
_LEAST_ERROR = 1e-12

Schedule = tuple[bool, ...]  # for each step whether it is computed


@dataclass(frozen=True)
class Found:
    """A schedule and what it does to the recordings.

    Attributes:
        computed: the schedule.
        errors: of each recording, the largest error on its path, relative to the latents; see `Play.worst`.
    """

    computed: Schedule
    errors: tuple[float, ...]


def find_schedule(
    recordings: Sequence[Recording],
    count: int,
    make_predictor: MakePredictor,
    moves: int = MOVES,
    seed: int = 0,
) -> Found:
    """Find the schedule of `count` computed steps of the least mean of the logarithm of `Play.worst`.

    At most half of the steps cannot follow a sampler's zigzag; so few are looked for without it (`settled`).

    The best of the schedules that compute some first steps and evenly spaced ones after these is where it
    starts; then a computed step or two are moved, mostly a little, and what is better is kept. The first
    three steps (fewer on a small budget), the last two (one on a small budget), and those at which a model
    takes over are computed.

    Args:
        recordings: at least one; of the same number of steps.
        count: how many steps are computed.
        make_predictor: see `Play`.
        moves: how many to try.
        seed: of the moves; the same seed finds the same schedule.

    Raises:
        UsageError: so few, or so many, steps cannot be computed.
    """
    total = recordings[0].total_steps
    first = max(1, min(_FIRST, count // 4))
    last = 2 if count >= max(_TWO_LAST * total, first + 2) else 1
    forced = {*range(first), *range(total - last, total)}.union(
        *(recording.taken_over for recording in recordings)
    )
    check_count(count, "a schedule's steps", len(forced), hint=f"compute {len(forced)} steps or more")
    if count > total:
        raise UsageError(f"expected at most {total} steps to compute, found {count}", hint=f"{total} is all")
    starts = dict.fromkeys(_even(total, count, leading, forced) for leading in range(1, count))
    line = _Line(settled(recordings) if 2 * count <= total else recordings, make_predictor)
    for start in starts:
        line.try_out(start)
    for candidate in _moved(line, forced, moves, random.Random(seed)):
        line.try_out(candidate)
    ends = [played(recording, line.computed, make_predictor) for recording in recordings]
    return Found(line.computed, tuple(play.worst for play in ends))


class _Line:
    """The best schedule so far, with what is needed to try another from where they differ.

    Attributes:
        computed: that schedule; empty before the first.
    """

    def __init__(self, recordings: Sequence[Recording], make_predictor: MakePredictor) -> None:
        self.computed: Schedule = ()
        self._cost = math.inf
        # By recording, plays of the schedule as they stand before each of its computed steps.
        self._stands = [[Play(recording, make_predictor)] for recording in recordings]

    def try_out(self, schedule: Schedule) -> None:
        """Take a schedule if it is better."""
        if schedule == self.computed:
            return
        same = _first_difference(schedule, self.computed)
        starts = [_last_up_to(same, stands) for stands in self._stands]
        ends: list[Play] = []
        for number, start in enumerate(starts):
            # No error falls below what it has come to, nor below where those not yet played start from.
            limit = self._cost - sum(map(_cost, [*ends, *starts[number + 1 :]]))
            play = start.copy()
            while play.index < len(schedule) and _cost(play) < limit:
                play.step(schedule[play.index])
            if _cost(play) >= limit:
                return
            ends.append(play)
        self.computed, self._cost = schedule, sum(map(_cost, ends))
        self._stands = [_stands(schedule, same, stands) for stands in self._stands]


def _first_difference(one: Schedule, other: Schedule) -> int:
    """The first step at which two schedules differ; their length where none does."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(other))


def _last_up_to(index: int, stands: list[Play]) -> Play:
    return next(play for play in reversed(stands) if play.index <= index)


def _stands(schedule: Schedule, same: int, before: list[Play]) -> list[Play]:
    """Plays of a schedule before each of its computed steps; it agrees with that of `before` up to `same`."""
    stands = [play for play in before if play.index <= same]
    play = stands[-1].copy()
    while play.index < len(schedule):
        if schedule[play.index] and play.index > stands[-1].index:
            stands.append(play.copy())
        play.step(schedule[play.index])
    return stands


def _cost(play: Play) -> float:
    return math.log(max(play.worst, _LEAST_ERROR))


def _even(total: int, count: int, first: int, forced: set[int]) -> Schedule:
    """The first steps, the forced ones, and as many others, about evenly spaced, as make up the count."""
    chosen = {*range(first), *forced}
    for index in sorted(chosen - forced, reverse=True):
        if len(chosen) > count:
            chosen.remove(index)
    free = [index for index in range(total) if index not in chosen]
    wanted = count - len(chosen)
    chosen.update(free[round((k + 0.5) * len(free) / wanted - 0.5)] for k in range(wanted))
    return tuple(index in chosen for index in range(total))


def _moved(line: _Line, forced: set[int], moves: int, draw: random.Random) -> Iterator[Schedule]:
    """Schedules with a computed step or two elsewhere than in the line's, which may change between them."""
    total, count = len(line.computed), sum(line.computed)
    if count in (len(forced), total):
        return
    tried = set()
    for _ in range(moves):
        moved = list(line.computed)
        for _ in range(1 + (draw.random() < _TWICE_SHARE)):
            here = draw.choice([index for index in range(total) if moved[index] and index not in forced])
            far = draw.random() < _FAR_SHARE
            to = draw.randrange(total) if far else here + draw.choice((-1, 1)) * draw.randint(1, _NEAR)
            if 0 <= to < total and not moved[to]:
                moved[here], moved[to] = False, True
        schedule = tuple(moved)
        if schedule not in tried:
            tried.add(schedule)
            yield schedule
