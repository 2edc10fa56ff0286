"""Errors of the caching core, told in options."""

from __future__ import annotations

import pytest

from navicache_cli.errors import UsageError
from navicache_cli.plan.core_errors import in_options, told_in_options


@pytest.mark.parametrize(
    ("hint", "told"),
    [
        ("compute=0.5 is speedup=2", "--compute 0.5 is --speedup 2"),
        ("ask for less, or lower align_steps", "ask for less, or lower --align-steps"),
        ("max_error=0.05", "--max-error 0.05"),
        ("max_skips=4; 2 to 6 are the published ones", "--set max_skips=4; 2 to 6 are the published ones"),
        ("a larger threshold skips more steps", "a larger threshold skips more steps"),
        ("name the file with --set ratios=FILE.json", "name the file with --set ratios=FILE.json"),
        ("--max-error 0.05 or --compute 0.5", "--max-error 0.05 or --compute 0.5"),
    ],
)
def test_arguments_become_options(hint, told):
    assert in_options(hint) == told


def test_the_source_of_the_value_is_named():
    with pytest.raises(UsageError) as caught, told_in_options("config.yaml"):
        raise UsageError("max_error expects more than 0, found 0", "max_error=0.05")
    assert caught.value.message == "max-error expects more than 0, found 0 (config.yaml)"
    assert caught.value.hint == "--max-error 0.05"
