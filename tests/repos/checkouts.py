"""Where the official repositories are that these tests run against."""

from __future__ import annotations

import os

import pytest


def checkout_of(variable: str, official: str) -> str:
    """The checkout that a variable names; without one, the test is skipped and says how to run it."""
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"set {variable} to a checkout of {official} to run the official code")
    return folder
