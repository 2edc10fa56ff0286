"""The doubles of the official repositories on the GPU on paper: full width and full size, two blocks deep."""

from __future__ import annotations

import pytest

from backends.registry import get_backend
from navicache_cli.plan.plan import build_plan
from scripts.paper_gpu.gpu import PaperGpu
from tests.doubles.double import Double
from tests.on_paper import assert_kept_as_told, assert_sound, name_of, run_on_paper, settings_of

# Full width in the doubles' own words, and tokens of one branch: latent frames × rows × columns.
WIDTHS = {
    "wan": ({"dim": 5120, "ffn_dim": 13824, "num_heads": 40, "num_layers": 2}, 21 * 45 * 80),
    "wan2.2": ({"dim": 5120, "ffn_dim": 13824, "num_heads": 40, "num_layers": 2}, 21 * 45 * 80),
    "hunyuan": (
        {
            "hidden_size": 3072, "heads_num": 24, "rope_dim_list": [16, 56, 56],
            "mm_double_blocks_depth": 1, "mm_single_blocks_depth": 1,
        },
        33 * 34 * 60,
    ),
    # Without patches.
    "opensora": ({"hidden_size": 1152, "num_heads": 16, "depth": 2}, 15 * 30 * 53),
}  # fmt: skip
DOUBLES = [Double("wan"), Double("wan2.2", "wan22"), Double("hunyuan"), Double("opensora")]
# A size that keeps the scores of all tokens apart from everything else.
OPTIONS = {
    "wan": {"task": "t2v-14B"},
    "wan2.2": {"task": "t2v-A14B"},
    "opensora": {"size": "240p", "aspect_ratio": "16:9"},
}
# Of Wan2.2, what is as in Wan2.1; MagCache has no ratios for the task.
ELSEWHERE = {"wan2.2": {"residual", "hold", "magcache", "fbcache", "taylorseer"}}
pytestmark = pytest.mark.usefixtures("_forget_doubles")


@pytest.mark.shows("budget", "wan t2v-14B", "hunyuan t2v-544p", "opensora t2v")
@pytest.mark.parametrize(
    ("double", "settings"),
    [
        (double, settings)
        for double in DOUBLES
        for settings in settings_of(double.model)
        # easycache works where navicache does, by the same predictor.
        if name_of(settings) not in {"easycache", *ELSEWHERE.get(double.model, ())}
    ],
    ids=lambda given: name_of(given) if isinstance(given, dict) else given.path.name,
)
def test_a_generation_on_paper(double, settings):
    width, tokens = WIDTHS[double.model]
    options = OPTIONS.get(double.model, {})
    seen = run_on_paper(double.model, double.path, settings, width, **options)
    assert_sound(seen, settings, tokens)
    # Open-Sora's double has no patches: as many tokens at 240p as officially at 480p.
    sized = {} if double.model == "opensora" else options
    assert_kept_as_told(seen, double.model, settings, **sized)


@pytest.mark.parametrize("task", ["t2v-A14B", "ti2v-5B"])
def test_models_of_wan22_wait_on_the_cpu(task):
    flags = {"model": "wan2.2", "task": task, "repo": str(DOUBLES[1].path), "weights": "random-small"}
    plan = build_plan(flags, [], None, {})
    with PaperGpu():
        models = get_backend("wan2.2").load(plan).models
    assert all(weight.device.type == "cpu" for model in models.values() for weight in model.parameters())


def test_two_devices_in_one_operation_are_an_error():
    import torch

    with PaperGpu(), pytest.raises(RuntimeError, match="same device"):
        torch.ones(3, device="cuda") + torch.ones(3)


def test_bytes_are_counted_until_the_last_view_is_gone():
    import torch

    with PaperGpu() as gpu:
        tensor = torch.empty(1000, 1000, device="cuda")
        view = tensor[:10].t()
        assert gpu.ledger.live == 4_000_000
        del tensor
        assert gpu.ledger.live == 4_000_000
        del view
        assert gpu.ledger.live == 0
        assert gpu.ledger.peaks["load"].total == 4_000_000


def test_small_tensors_have_values_and_reading_waits():
    import torch

    with PaperGpu() as gpu:
        times = torch.linspace(1000, 0, 5).to("cuda")
        assert (times[1:] / 250).tolist() == [3.0, 2.0, 1.0, 0.0]
        assert (times == 500).nonzero().item() == 2
        noise = torch.randn(100_000, device="cuda")
        assert torch.stack([times[0], noise.abs().mean()]).tolist() == [1000.0, 1.0], "unknown numbers are 1"
        times[0] = noise[0]
        assert gpu.waits["others"] == 4
