"""The most memory of one run, not of those before it."""

from pathlib import Path

import pytest

from navicache_cli.report import peak_memory
from navicache_cli.report.peak_memory import PROCESS, RUN, PeakMemory

MIB = 2**20
linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")


@linux
def test_a_run_does_not_inherit_the_peak_before_it():
    first = PeakMemory()
    bytearray(300 * MIB)
    largest = first.read()
    second = PeakMemory()
    assert largest.of == second.read().of == RUN
    assert second.read().bytes < largest.bytes - 200 * MIB
    bytearray(100 * MIB)
    assert 80 * MIB < second.read().bytes - PeakMemory().read().bytes < 200 * MIB


@pytest.mark.parametrize("missing", ["clear_refs", "all"])
def test_where_it_cannot_begin_anew_that_is_said(monkeypatch, tmp_path, missing):
    if missing == "clear_refs":
        (tmp_path / "clear_refs").mkdir()  # cannot be written
        (tmp_path / "status").write_text("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n")
    else:
        tmp_path /= "nothing"
    monkeypatch.setattr(peak_memory, "_PROC", tmp_path)
    found = PeakMemory().read()
    assert found.of == PROCESS
    assert found.bytes == 2 * MIB if missing == "clear_refs" else found.bytes > 10 * MIB


def test_a_gpu_begins_anew(monkeypatch):
    most = [10**9]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.reset_peak_memory_stats", lambda: most.append(5))
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda: most[-1])
    assert PeakMemory().read() == (5, RUN)
