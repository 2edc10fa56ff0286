"""What several of these tests need."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture
def _forget_doubles():
    """Other tests in this process may import the real packages of the same names."""
    packages = ("wan", "wan22", "hyvideo", "opensora", "videosys")
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] in packages}
    path = [*sys.path]
    yield
    sys.path[:] = path
    for name in [name for name in sys.modules if name.split(".")[0] in packages]:
        del sys.modules[name]
    sys.modules.update(before)
