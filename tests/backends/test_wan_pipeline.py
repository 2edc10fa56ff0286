"""What the Wan2.1 pipeline does around the official call: stages, and hints where memory runs out."""

from __future__ import annotations

import pytest

from navicache_cli.plan.plan import build_plan


def test_out_of_memory_names_the_options():
    import torch

    from backends.official.official import out_of_memory_hints
    from backends.wan.pipeline import less_memory
    from backends.wan.tasks import TASKS
    from navicache_cli.errors import OutOfMemoryError

    with (
        pytest.raises(OutOfMemoryError, match="Tried to allocate") as caught,
        out_of_memory_hints(less_memory(TASKS["t2v-1.3B"])),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nMore")
    for option in ("--offload", "--t5-cpu", "--size", "--frames"):
        assert option in caught.value.hint


def tqdm(iterable):
    raise AssertionError("the official progress bar was to stay away")


class Stub:
    """What `WanPipeline.generate` touches of an official pipeline; it logs what happens.

    After the last step it moves the transformer away, as offloading does.
    """

    def __init__(self, fault=""):
        import torch

        self.log = log = []

        class VAE:
            def decode(self, latents):
                log.append("vae")
                assert not fault, fault
                return [latents[0][:3]]

        class Transformer(torch.nn.Identity):
            def cpu(self):
                log.append("moved away")
                return super().cpu()

        self.device, self.model, self.vae = torch.device("cpu"), Transformer(), VAE()

    def start(self, stage):
        """As `Stages.start`."""
        self.log.append(f"<{stage}>")

    def generate(self, prompt, size, frame_num, **settings):
        import torch

        self.settings = settings
        self.log.append("encoder")
        x = torch.zeros(16, frame_num, size[1], size[0])
        for _ in tqdm(range(3)):
            x = self.model(x)
            self.log.append("transformer")
        self.model.cpu()
        return self.vae.decode([x])[0]


@pytest.mark.parametrize("fault", ["", "damaged"])
def test_stages_start_inside_the_official_call(fault):
    from backends.wan.pipeline import WanPipeline
    from backends.wan.tasks import TASKS

    plan = build_plan({"model": "wan", "frames": "1", "negative_prompt": "ugly"}, [], None, {})
    official = Stub(fault)
    pipeline = WanPipeline(official, TASKS["t2v-1.3B"], identity=None)
    if fault:
        with pytest.raises(AssertionError, match=fault):
            pipeline.generate(plan, official)
    else:
        assert pipeline.generate(plan, official).shape == (3, 1, 480, 832)
    denoising = ["<denoise>", *["transformer"] * 3]
    decoding = ["<decode>", "moved away", "<decode>", "vae"]
    assert official.log == ["<text>", "encoder", *denoising, *decoding, "<>"], "moving is no denoising"
    assert vars(official.vae) == {}
    assert "cpu" not in vars(official.model)
    assert not official.model._forward_pre_hooks
    assert official.settings == {
        "shift": 5.0, "sample_solver": "unipc", "sampling_steps": 50, "guide_scale": 5.0, "n_prompt": "ugly",
        "seed": 0, "offload_model": False,
    }  # fmt: skip
