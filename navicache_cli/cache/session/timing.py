"""Time spent in the cached region, without making the device wait."""

from __future__ import annotations

import time

import torch


class CallTimer:
    """Times one call of the region, from construction to `stop`.

    On a CUDA device the calls only queue work, so a pair of events marks it and is read once it has
    passed; elsewhere the host clock serves.
    """

    def __init__(self, device: torch.device) -> None:
        self._seconds: float | None = None
        self._events: tuple[torch.cuda.Event, torch.cuda.Event] | None = None
        if device.type == "cuda":
            stream = torch.cuda.current_stream(device)
            self._events = (_event(), _event())
            self._events[0].record(stream)
        else:
            self._started = time.perf_counter()
        self._device = device

    def stop(self) -> None:
        """The call is over, or all its work is queued."""
        if self._events is None:
            self._seconds = time.perf_counter() - self._started
        else:
            self._events[1].record(torch.cuda.current_stream(self._device))

    def seconds(self, *, wait: bool = False) -> float | None:
        """Seconds the call took; None while the device is still at it, unless told to `wait`."""
        if self._seconds is None and self._events is not None:
            start, end = self._events
            if wait:
                end.synchronize()
            if end.query():  # type: ignore[no-untyped-call]
                self._seconds = start.elapsed_time(end) / 1000
                self._events = None
        return self._seconds


def _event() -> torch.cuda.Event:
    event: torch.cuda.Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    return event
