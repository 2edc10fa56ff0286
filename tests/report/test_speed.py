"""Two clocks, the speedup by one of them, and the mark on one that cannot be."""

import time

import pytest
from msgspec import structs

from backends.protocol import Stages
from navicache_cli.report import speed
from navicache_cli.report.report import Totals
from navicache_cli.report.speed import (
    CPU,
    MARK,
    WALL,
    Timings,
    beyond_bound,
    make_timings,
    show_speedup,
    skip_bound,
    speed_notes,
    speedup,
)


def timings(wall: float, cpu: float) -> Timings:
    return make_timings(
        {"text": 0.5, "denoise": wall, "decode": 0.25},
        {"text": 0.5, "denoise": cpu, "decode": 0.25},
        1.0,
        2.0,
    )


def test_waiting_takes_no_processor_time():
    stages = Stages()
    stages.start("text")
    time.sleep(0.1)
    stages.start("denoise")
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    stages.start("decode")
    stages.start("")
    assert stages.seconds["text"] >= 0.1 > 0.05 > stages.cpu_seconds["text"]
    assert stages.seconds["denoise"] >= 0.09 <= stages.cpu_seconds["denoise"] < 0.15
    assert set(stages.seconds) == set(stages.cpu_seconds) == {"text", "denoise", "decode"}


def test_the_total_is_that_of_the_stages():
    found = timings(4.0, 3.0)
    assert found.total == 1 + 0.5 + 4 + 0.25 + 2
    assert (found.clock, found.cpu["denoise"]) == (CPU, 3.0)


def test_on_a_cpu_other_load_does_not_count():
    """Another program came while the uncached one ran: 113 s of the wall clock for 3 s of work."""
    assert speedup(timings(113.0, 3.0), timings(2.0, 2.0)) == 1.5


@pytest.mark.parametrize("why", ["gpu", "processes", "no processor time"])
def test_where_processor_time_says_nothing_the_wall_clock_counts(monkeypatch, why):
    if why == "gpu":
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    if why == "processes":
        for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}.items():
            monkeypatch.setenv(name, value)
    cpu = 0.0 if why == "no processor time" else 3.0
    uncached, cached = timings(6.0, cpu), timings(2.0, cpu)
    assert uncached.clock == cached.clock == WALL
    assert speedup(uncached, cached) == 3


def test_two_clocks_are_not_mixed():
    old = Timings(**{k: v for k, v in structs.asdict(timings(6.0, 3.0)).items() if k not in ("cpu", "clock")})
    assert speedup(old, timings(2.0, 1.0)) == 3


@pytest.mark.parametrize(
    ("measured", "bound", "beyond"),
    [
        (15.81, 2.94, True),
        (2.0, 1.9, True),
        (1.93, 1.89, False),
        (2.15, 2.2, False),
        (1.04, 1.0, False),
        (None, 2.0, False),
        (9.0, None, False),
    ],
)
def test_what_is_beyond_its_bound(measured, bound, beyond):
    assert beyond_bound(measured, bound) is beyond


def test_a_mark_comes_with_its_meaning():
    assert show_speedup(15.81, True) == f"15.81x{MARK}"
    assert show_speedup(1.93, False) == "1.93x"
    assert speed_notes([WALL], False) == []
    assert speed_notes([WALL, CPU], True) == [speed.OF_CPU, speed.BEYOND]
    assert speed.BEYOND.startswith(MARK)


def test_skipped_attentions_have_no_bound_in_steps():
    assert skip_bound(Totals(5, 2, 3, 0.6, 0.4, 4, 6, 0, 0, 2.5)) == 2.5
    assert skip_bound(Totals(5, 5, 0, 0.0, 0.2, 10, 0, 0, 0, 1.0, attention_calls_saved=432)) is None
