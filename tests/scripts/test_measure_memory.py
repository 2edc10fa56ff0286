"""How the figures of `navicache memory` are made of generations on paper."""

from __future__ import annotations

from types import SimpleNamespace

from scripts.measure_memory import GIB, fit_moments
from scripts.paper_gpu.ledger import Peak

SIZES = {"transformer": 8 * GIB, "VAE": GIB}


BOTH, VAE, TRANSFORMER = frozenset(SIZES), frozenset(["VAE"]), frozenset(["transformer"])
KNOWN = [(1.0, 0.4, 4.0), (1.0, 0.4, 8.0), (1.0, 0.9, 18.0)]


def peak(activations: float, **weights: int) -> Peak:
    return Peak(int(activations * GIB) + sum(weights.values()), weights)


def generations(moments):
    """Those of `KNOWN`: what is on the GPU at a number of megapixels and a volume."""
    return [SimpleNamespace(weights=SIZES, moments=moments(*one[1:])) for one in KNOWN]


def test_which_moment_is_the_fullest_depends_on_the_size():
    def moments(megapixels, volume):
        return {
            ("load", BOTH): peak(0, **SIZES),
            ("denoise", TRANSFORMER): peak(2 * volume, transformer=SIZES["transformer"]),
            ("decode", BOTH): peak(0.5 * volume, **SIZES),
            ("decode", TRANSFORMER): peak(0.25 * volume, transformer=SIZES["transformer"]),
            ("decode", VAE): peak(10 * megapixels + 0.5 * volume, VAE=SIZES["VAE"]),
        }

    assert fit_moments(KNOWN, generations(moments)) == {
        "denoise": [{"parts": ["transformer"], "activations": [0.0, 0.0, 2.0]}],
        "decode": [
            {"parts": ["transformer", "VAE"], "activations": [0.0, 0.0, 0.5]},
            {"parts": ["VAE"], "activations": [0.0, 10.0, 0.5]},
        ],
    }


def test_decoding_begins_when_the_transformer_has_left():
    def moments(megapixels, volume):
        return {
            ("text", BOTH): peak(1, **SIZES),
            ("denoise", BOTH): peak(2 * volume, **SIZES),
            ("decode", BOTH): peak(0.5 * volume, **SIZES),
            ("decode", VAE): peak(10 * megapixels + 2 * volume, VAE=SIZES["VAE"]),
        }

    found = fit_moments(KNOWN, generations(moments))
    assert [one["parts"] for one in found["decode"]] == [["VAE"]], "there is more of all in denoise"
    assert found["text"] == [{"parts": ["transformer", "VAE"], "activations": [1.0, 0.0, 0.0]}]


def test_layers_that_come_for_their_turn_are_no_part():
    def moments(megapixels, volume):
        parts = {"transformer": SIZES["transformer"], "VAE": 0.25 * GIB}
        return {("denoise", BOTH): peak(2 * volume, **parts)}

    found = fit_moments(KNOWN, generations(moments))
    assert found == {"denoise": [{"parts": ["transformer"], "activations": [0.25, 0.0, 2.0]}]}
