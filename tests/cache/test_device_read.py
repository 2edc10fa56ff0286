"""The one read of the device: who is handed what, and in which order."""

from __future__ import annotations

import torch

from navicache_cli.cache.session.device_read import DeviceRead


def numbers(**values):
    return {name: torch.tensor(value) for name, value in values.items()}


def test_everyone_gets_their_own_numbers_in_one_transfer(monkeypatch):
    reads, original = [], torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: reads.append(1) or original(tensor))
    read, told = DeviceRead(), []
    read.later(numbers(a=1.0, b=2.0), lambda found: told.append(("first", found)))
    read.later({}, lambda found: told.append(("nobody", found)))
    read.later(numbers(a=3.0), lambda found: told.append(("second", found)))
    assert read.now(numbers(timestep=0.5)) == {"timestep": 0.5}
    assert told == [("first", {"a": 1.0, "b": 2.0}), ("second", {"a": 3.0})]
    assert len(reads) == 1
    assert read.now() == {}
    assert (len(told), len(reads)) == (2, 1), "nothing is read twice, and nothing waits for nothing"


def test_what_was_cleared_is_not_read():
    read, told = DeviceRead(), []
    read.later(numbers(a=1.0), told.append)
    read.clear()
    assert read.now(numbers(b=2.0)) == {"b": 2.0}
    assert told == []


def test_all_processes_get_the_first_ones_numbers():
    read, told = DeviceRead(agree=lambda vector: vector.copy_(torch.arange(2.0))), []
    read.later(numbers(a=7.0), told.append)
    assert read.now(numbers(b=7.0)) == {"b": 1.0}
    assert told == [{"a": 0.0}]
