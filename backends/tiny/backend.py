"""Backend and pipeline of `tiny`: its weights, its prompt check, its sampler loop."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.protocol import Stages
from backends.tiny.checkpoint import Part, load_part, read_config
from navicache_cli import __version__
from navicache_cli.cache.policies.policy import Region
from navicache_cli.errors import UsageError
from navicache_cli.plan.presets import OFF
from navicache_cli.reading import expand_user
from navicache_cli.report.report import ModelIdentity
from navicache_cli.threads import use_at_most

if TYPE_CHECKING:
    from torch import Tensor

    from backends.tiny.twin import Twin
    from navicache_cli.cache.sites.site import Site
    from navicache_cli.plan.plan import Plan

PARTS = ("transformer", "text_encoder", "codec")


def shipped_weights() -> Path:
    """Return the folder of the weights that ship with the package."""
    return Path(str(files("backends.tiny"))) / "weights"


class TinyPipeline:
    """The loaded miniature: text encoder, transformer, codec."""

    def __init__(self, folder: Path, device: str = "") -> None:
        """Load the weights in `folder` to `device`, or to the GPU if there is one.

        Raises:
            WeightsError: a file is missing, damaged, or of another model.
        """
        import torch

        from backends.tiny.codec import Codec
        from backends.tiny.model import TinyWan
        from backends.tiny.text import TextEncoder

        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        config = read_config(folder)
        digest = hashlib.sha256()

        def load(make: Callable[[], Part], name: str) -> Part:
            part, of_file = load_part(make, folder / f"{name}.safetensors")
            digest.update(of_file)
            return part.to(self.device).eval().requires_grad_(False)

        self.transformer = load(lambda: TinyWan(**config), "transformer")
        self.text_encoder = load(TextEncoder, "text_encoder")
        self.codec = load(Codec, "codec")
        self.identity = ModelIdentity(
            name="tiny t2v",
            repository="navicache, backends/tiny",
            commit=f"navicache {__version__}",
            weights_digest=f"sha256:{digest.hexdigest()}",
        )

    def site(self, region: Region = Region.OWN) -> Site:
        """Return a site; the model's own region is the whole transformer forward, as for Wan2.1."""
        from navicache_cli.cache import Architecture
        from navicache_cli.cache.sites.stack_site import argument

        blocks: Any = self.transformer.blocks
        return Architecture(
            self.transformer,
            timestep="t",
            inputs="x",
            blocks=lambda: blocks,
            modulation=argument("e", 1),
            attentions=lambda: {
                "self": [block.self_attn for block in blocks],
                "cross": [block.cross_attn for block in blocks],
            },
        ).site(region)

    def generate(self, plan: Plan, stages: Stages) -> Tensor:
        """Sample as Wan2.1 does: two forwards per step under guidance, one without (guidance 1).

        Returns:
            Video [3, F, H, W] float32 in [-1, 1].
        """
        import torch

        from backends.tiny.codec import CHANNELS, STRIDE
        from backends.tiny.model import coordinates
        from backends.tiny.solvers import make_solver
        from backends.tiny.text import tokenize

        with torch.inference_mode():
            stages.start("text")
            tokens = [tokenize(plan.prompt), tokenize(plan.negative_prompt)]
            context, negative = self.text_encoder(tokens)
            stages.start("denoise")
            shape = ((plan.frames - 1) // STRIDE[0] + 1, plan.height // STRIDE[1], plan.width // STRIDE[2])
            # Drawn on the CPU whatever the device, so that a seed means the same noise everywhere.
            generator = torch.Generator().manual_seed(plan.seed)
            latents = torch.randn(CHANNELS, *shape, generator=generator).to(self.device)
            patch = self.transformer.patch_size
            y = [coordinates(shape).to(self.device)]
            seq_len = shape[0] * shape[1] * shape[2] // (patch[0] * patch[1] * patch[2])
            solver = make_solver(plan.solver, plan.steps, plan.shift)
            for timestep in solver.timesteps:
                t = timestep[None].to(self.device)
                flow = self.transformer([latents], t, [context], seq_len, y=y)[0]
                if plan.guidance != 1.0:
                    unconditional = self.transformer([latents], t, [negative], seq_len, y=y)[0]
                    flow = unconditional + plan.guidance * (flow - unconditional)
                latents = solver.step(flow, latents)
            stages.start("decode")
            video = self.codec.decode(latents[None])[0].cpu()
            stages.start("")
        return video

    def twin(self, apart: bool = False) -> Twin:
        """The same pipeline around diffusers' implementation of the denoiser; see `Twin`."""
        from backends.tiny.twin import Twin

        return Twin(self, apart)


class TinyBackend:
    """The miniature model family."""

    name = "tiny"

    def problem(self) -> str:
        folder = shipped_weights()
        needed = [*(f"{part}.safetensors" for part in PARTS), "config.json"]
        missing = [name for name in needed if not (folder / name).is_file()]
        return f"weights missing: {', '.join(missing)}" if missing else ""

    def check(self, plan: Plan) -> list[str]:
        """Check both prompts against the vocabulary; unknown words among known ones become notes.

        Raises:
            UsageError: no word is known; or two steps share a timestep, by which the cache knows a step.
        """
        from backends.tiny.solvers import make_solver
        from backends.tiny.text import tokenize

        distinct = len(set(make_solver(plan.solver, plan.steps, plan.shift).timesteps.tolist()))
        if distinct < plan.steps and plan.method != OFF:
            raise UsageError(
                f"{plan.steps} steps at shift {plan.shift:g} fall on {distinct} different whole timesteps of "
                "1000; the cache expects one per step",
                "lower --steps or --shift, or choose --mode off",
            )
        notes = []
        for prompt in (plan.prompt, plan.negative_prompt):
            if unknown := tokenize(prompt).unknown:
                listed = ", ".join(word[:30] for word in unknown[:12])
                notes.append(f"tiny does not know these words and ignores them: {listed}")
        if plan.frames != 17:
            notes.append(f"tiny was trained on 17 frames; {plan.frames} may look wrong")
        return notes

    def load(self, plan: Plan) -> TinyPipeline:
        """Load the shipped weights, or those in the folder `plan.weights`."""
        # So small are its layers that a second thread gains little, and loses much where cores are taken.
        use_at_most(1)
        return TinyPipeline(expand_user(plan.weights) if plan.weights else shipped_weights())
