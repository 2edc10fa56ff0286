"""How the figures of `navicache memory` are made of generations on paper."""

from __future__ import annotations

from types import SimpleNamespace

from scripts.measure_memory import GIB, fit_moments
from scripts.paper_gpu.ledger import Peak

SIZES = {"transformer": 8 * GIB, "VAE": GIB}


def generation(megapixels: float, volume: float) -> SimpleNamespace:
    """Decoding: the transformer leaves, then the VAE needs much; before that, layers of it come and go."""

    def peak(activations: float, **weights: int) -> Peak:
        return Peak(int(activations * GIB) + sum(weights.values()), weights)

    both = frozenset(SIZES)
    return SimpleNamespace(
        weights=SIZES,
        moments={
            ("load", both): peak(0, **SIZES),
            ("denoise", both): peak(2 * volume, transformer=SIZES["transformer"], VAE=1000),
            ("decode", both): peak(0.5 * volume, **SIZES),
            ("decode", frozenset(["transformer"])): peak(0.25 * volume, transformer=SIZES["transformer"]),
            ("decode", frozenset(["VAE"])): peak(10 * megapixels + 0.5 * volume, VAE=SIZES["VAE"]),
        },
    )


def test_which_moment_is_the_fullest_depends_on_the_size():
    known = [(1.0, 0.4, 4.0), (1.0, 0.4, 8.0), (1.0, 0.9, 18.0)]
    found = fit_moments(known, [generation(*one[1:]) for one in known])
    assert found["decode"] == [
        {"parts": ["transformer", "VAE"], "activations": [0.0, 0.0, 0.5]},
        {"parts": ["VAE"], "activations": [0.0, 10.0, 0.5]},
    ]
    assert [moment["parts"] for moment in found["denoise"]] == [["transformer"]]
    assert set(found) == {"denoise", "decode"}
