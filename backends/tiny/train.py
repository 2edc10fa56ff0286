"""Train `tiny` from nothing: draw the world, learn the codec, encode, learn the denoiser, export.

    python -m backends.tiny.train --out training

Both stages are seeded and resume from their last checkpoint when started again. The device is picked
(CUDA when there is one). `--out` then holds the checkpoints, a CSV and a plot of the losses, and
`weights/`, the files to put beside this module.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import multiprocessing
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange, repeat
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn, track
from safetensors.torch import save_file
from torch import Tensor, nn

from backends.tiny import world
from backends.tiny.codec import Codec, to_groups
from backends.tiny.model import TinyWan, coordinates
from backends.tiny.text import TextEncoder, tokenize

SEED = 2026


@dataclass(frozen=True)
class Phase:
    """What the denoiser's training dwells on from step `start` on.

    Attributes:
        start: first step.
        spread: standard deviation of the noise level's logit.
        shift: then sigma -> shift sigma / (1 + (shift - 1) sigma).
        colour: how many times a latent's channels of colour count in the loss.
    """

    start: int
    spread: float
    shift: float
    colour: float


@dataclass(frozen=True)
class StageSettings:
    """How long a stage learns, and from what.

    Attributes:
        steps: length.
        batch: videos a step.
        rate: peak learning rate.
        scenes: indices of the scenes its videos show.
        two_objects: share of these scenes with two objects.
        phases: what the denoiser dwells on, from which step on.
    """

    steps: int
    batch: int
    rate: float
    scenes: range
    two_objects: float = world.TWO_OBJECTS_SHARE
    phases: tuple[Phase, ...] = ()

    def phase_at(self, step: int) -> Phase:
        """Return the phase a step belongs to."""
        return next(phase for phase in reversed(self.phases) if phase.start <= step)


CODEC = StageSettings(steps=700, batch=10, rate=2e-3, scenes=range(3_000))
# First what things look like, all channels alike. Then the objects above all: only they have colour, and the
# grounds are learnt by then. Low noise levels teach outlines, those above 0.8 where things stand and how they
# move; both from beginning to end, for either is soon forgotten, and the high ones most towards the end.
DENOISER = StageSettings(
    steps=10_000, batch=32, rate=1.5e-3, scenes=range(40_000), two_objects=0.5,
    phases=(Phase(0, 1.2, 4.0, 1), Phase(2_500, 1.4, 3.0, 4), Phase(7_000, 1.4, 4.5, 4)),
)  # fmt: skip
FITTED_VIDEOS = 400  # videos the encoder's components are fitted to
LATENT_NOISE = 0.05  # added to latents while the decoder learns
PROMPT_DROPOUT = 0.1  # share of training prompts replaced by the empty one
EMA_DECAY = 0.999
CHUNK = 50  # scenes drawn and encoded at a time
CHECKPOINT_SECONDS = 120.0


class Ema:
    """Exponential moving average of parameters, the weights that are exported."""

    def __init__(self, modules: nn.ModuleDict) -> None:
        self.shadow = {k: v.detach().clone() for k, v in modules.state_dict().items()}

    @torch.no_grad()
    def update(self, modules: nn.ModuleDict, step: int) -> None:
        """Move the average towards the current parameters; faster at first."""
        decay = min(EMA_DECAY, (1 + step) / (10 + step))
        state = modules.state_dict()
        torch._foreach_lerp_([self.shadow[key] for key in state], list(state.values()), 1 - decay)


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Cosine schedule from `peak` to 2 % of it after a linear warm-up of 100 steps."""
    warm = min(1.0, (step + 1) / 100)
    return peak * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def train(
    name: str,
    modules: nn.ModuleDict,
    loss_of: Any,
    batches: Any,
    out: Path,
    device: torch.device,
    *,
    settings: StageSettings,
) -> None:
    """Run one stage to its end, from its checkpoint if there is one; `modules` ends with averaged weights.

    Args:
        name: stage name, of the checkpoint `{name}.pt` and of the loss log `{name}.csv`.
        modules: what is trained.
        loss_of: maps a batch to a scalar loss.
        batches: maps a step to a batch, a pure function of the step, so that resuming changes nothing.
        out: folder of checkpoints and logs.
        device: where to train.
        settings: length and learning rate of the stage.
    """
    steps = settings.steps
    modules.to(device).train()
    optimizers = optimizers_of(modules, settings)
    ema = Ema(modules)
    checkpoint, log = out / f"{name}.pt", out / f"{name}.csv"
    start, seconds = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        modules.load_state_dict(state["modules"])
        for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        ema.shadow, start, seconds = state["ema"], state["step"], state["seconds"]
        logged = log.read_text().splitlines()[: start + 1]
        log.write_text("\n".join(logged) + "\n")
    else:
        log.write_text("step,loss\n")

    def save(step: int) -> None:
        state = {
            "modules": modules.state_dict(), "ema": ema.shadow, "step": step,
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "seconds": seconds + time.perf_counter() - began,
        }  # fmt: skip
        torch.save(state, checkpoint.with_suffix(".part"))
        checkpoint.with_suffix(".part").replace(checkpoint)

    began = saved = time.perf_counter()
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
        TextColumn("loss {task.fields[loss]:.4f}"), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns) as progress, log.open("a", buffering=1) as losses:
        bar = progress.add_task(name, total=steps, completed=start, loss=float("nan"))
        for step in range(start, steps):
            rate = learning_rate(step, steps, settings.rate)
            for optimizer in optimizers:
                optimizer.param_groups[0]["lr"] = rate
            torch.manual_seed(SEED + step)
            with torch.autocast(device.type, dtype=torch.bfloat16):
                loss = loss_of(batches(step))
            modules.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
            ema.update(modules, step)
            value = float(loss.detach())
            losses.write(f"{step},{value:.6f}\n")
            progress.update(bar, advance=1, loss=value)
            if time.perf_counter() - saved > CHECKPOINT_SECONDS:
                save(step + 1)
                saved = time.perf_counter()
        save(steps)
    modules.load_state_dict(ema.shadow)
    modules.eval()


def optimizers_of(modules: nn.ModuleDict, settings: StageSettings) -> list[torch.optim.Optimizer]:
    """Return AdamW, and Muon for the matrices of the transformer's blocks: it learns faster, step by step."""
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in modules.named_parameters():
        by_muon = name.startswith("transformer.blocks.") and parameter.ndim == 2
        (matrices if by_muon else rest).append(parameter)
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, lr=settings.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    ]
    if matrices:
        # Its steps made as large as AdamW's, one learning rate does for both.
        optimizers.append(
            torch.optim.Muon(matrices, lr=settings.rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
        )
    return optimizers


def draw_chunk(indices: range, two_objects: float) -> tuple[np.ndarray, list[str]]:
    """Draw training scenes: frames [B, F, H, W, 3] uint8 and prompts. Each scene has a seed of its own."""
    frames, prompts = [], []
    for index in indices:
        rng = np.random.default_rng((SEED, index))
        scene = world.sample_scene(rng, two_objects=two_objects)
        prompts.append(world.describe(scene, rng))
        frames.append(world.render(scene))
    return np.stack(frames), prompts


def draw_in_parallel(settings: StageSettings) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Draw the scenes of a stage, `CHUNK` at a time, on all cores, in order."""
    chunks = [settings.scenes[start : start + CHUNK] for start in range(0, len(settings.scenes), CHUNK)]
    with multiprocessing.get_context("spawn").Pool() as pool:
        yield from pool.imap(functools.partial(draw_chunk, two_objects=settings.two_objects), chunks)


def to_unit(frames: np.ndarray) -> Tensor:
    """Turn uint8 frames [B, F, H, W, 3] into video [B, 3, F, H, W] in [-1, 1]."""
    return rearrange(torch.from_numpy(frames), "b f h w c -> b c f h w").float() / 127.5 - 1


def train_codec(out: Path, device: torch.device) -> Codec:
    """Fit the encoder to drawn videos, then learn the decoder: absolute plus squared error, noisy latents."""
    torch.manual_seed(SEED)
    codec = Codec()
    cache = out / "codec_videos.npy"
    if not cache.exists():
        np.save(cache, np.concatenate([frames for frames, _ in draw_in_parallel(CODEC)]))
    videos = np.load(cache)
    codec.fit_encoder(to_groups(to_unit(videos[:FITTED_VIDEOS])))
    codec.encoder.requires_grad_(False)
    modules = nn.ModuleDict({"codec": codec})

    def batches(step: int) -> Tensor:
        chosen = np.random.default_rng((SEED, step)).integers(0, len(videos), CODEC.batch)
        return to_groups(to_unit(videos[chosen]).to(device)).contiguous(memory_format=torch.channels_last)

    def loss_of(groups: Tensor) -> Tensor:
        with torch.autocast(device.type, enabled=False):
            latents = codec.encode_groups(groups)
        latents = latents + LATENT_NOISE * torch.randn_like(latents)
        error = codec.decode_groups(latents).float() - groups
        return error.abs().mean() + 4 * error.pow(2).mean()

    train("codec", modules, loss_of, batches, out, device, settings=CODEC)
    return codec


@torch.no_grad()
def encode_world(
    settings: StageSettings, codec: Codec, out: Path, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Draw and encode the scenes of a stage: latents [N, 16, f, h, w] float16, tokens [N, 2, TEXT_LEN]."""
    cache = out / "latents.pt"
    if not cache.exists():
        latents, tokens = [], []
        codec = codec.eval().to(device)
        chunks = math.ceil(len(settings.scenes) / CHUNK)
        for frames, prompts in track(draw_in_parallel(settings), cache.stem, total=chunks):
            latents.append(codec.encode(to_unit(frames).to(device)).half().cpu())
            tokens += [tokenize(prompt).padded() for prompt in prompts]
        torch.save({"latents": torch.cat(latents), "tokens": torch.stack(tokens)}, cache)
    data = torch.load(cache, weights_only=True)
    return data["latents"], data["tokens"]


def train_denoiser(codec: Codec, out: Path, device: torch.device) -> tuple[TinyWan, TextEncoder]:
    """Learn text encoder and transformer together by rectified flow: they predict noise - latent."""
    latents, tokens = encode_world(DENOISER, codec, out, device)
    torch.manual_seed(SEED)
    transformer, text = TinyWan(), TextEncoder()
    modules = nn.ModuleDict({"transformer": transformer, "text": text})
    f, h, w = latents.shape[2:]
    places = coordinates((f, h, w)).to(device)
    transformer.rotary_for((f, h // 2, w // 2), device)  # before compiling, or it is compiled twice

    def predict(noisy: Tensor, t: Tensor, prompts: Tensor) -> Tensor:
        y = repeat(places, "c f h w -> b c f h w", b=len(noisy))
        return transformer.forward_batch(torch.cat([noisy, y], dim=1), t, text.encode_batch(prompts))

    # Fusing the many small elementwise steps halves the time a step takes on a CPU; it needs a C++ compiler.
    if device.type == "cuda" or shutil.which("g++") or shutil.which("clang++"):
        predict = torch.compile(predict)

    def loss_of(batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        clean, prompts, sigma, weight = batch
        noise = torch.randn_like(clean)
        level = rearrange(sigma, "b -> b 1 1 1 1")
        noisy = (1 - level) * clean + level * noise
        flow = predict(noisy, 1000 * sigma, prompts)
        return (weight * (flow - (noise - clean)).pow(2)).mean()

    batches = batches_of(latents, tokens, colour_channels(codec), device)
    train("denoiser", modules, loss_of, batches, out, device, settings=DENOISER)
    return transformer, text


def batches_of(
    latents: Tensor, tokens: Tensor, coloured: Tensor, device: torch.device
) -> Callable[[int], tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Return what maps a step to its batch: latents, prompts, noise levels and the weight of each channel."""
    empty = tokenize("").padded()

    def batch_at(step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rng = np.random.default_rng((SEED, step))
        chosen = torch.from_numpy(rng.integers(0, len(latents), DENOISER.batch))
        dropped = torch.from_numpy(rng.random(DENOISER.batch) < PROMPT_DROPOUT)
        prompts = torch.where(dropped[:, None, None], empty, tokens[chosen])
        phase = DENOISER.phase_at(step)
        sigma = noise_levels(phase, DENOISER.batch)
        weight = torch.where(coloured, phase.colour, 1.0)
        weight = rearrange(weight / weight.mean(), "c -> c 1 1 1")
        return latents[chosen].to(device).float(), prompts.to(device), sigma.to(device), weight.to(device)

    return batch_at


def noise_levels(phase: Phase, count: int) -> Tensor:
    """Draw sigmas [count] in (0, 1) for one training step."""
    sigma = torch.sigmoid(phase.spread * torch.randn(count))
    return phase.shift * sigma / (1 + (phase.shift - 1) * sigma)


def colour_channels(codec: Codec) -> Tensor:
    """Which latent channels [16] (bool) show colour: those that look at red, green and blue differently."""
    components = codec.encoder.get_parameter("1.weight").detach().cpu()
    weight = rearrange(components, "k (t c pixel) 1 1 -> k t c pixel", t=4, c=3)
    grey = weight.mean(2, keepdim=True)
    return (weight - grey).pow(2).sum((1, 2, 3)) > 0.5 * weight.pow(2).sum((1, 2, 3))


def export(codec: Codec, transformer: TinyWan, text: TextEncoder, out: Path) -> None:
    """Write the weights as float16 safetensors with the transformer's config.json."""
    folder = out / "weights"
    folder.mkdir(exist_ok=True)
    parts: dict[str, nn.Module] = {"codec": codec, "transformer": transformer, "text_encoder": text}
    for name, module in parts.items():
        state = {key: value.half().contiguous().cpu() for key, value in module.state_dict().items()}
        save_file(state, folder / f"{name}.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(transformer.config, indent=2) + "\n")


def plot_losses(out: Path) -> None:
    """Draw the loss of each stage, smoothed, to losses.png."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError:
        print("no matplotlib: pip install 'navicache[train]' to have the losses drawn")
        return
    names = ("codec", "denoiser")
    figure, axes = plt.subplots(1, len(names), figsize=(5 * len(names), 3.6), layout="constrained")
    for axis, name in zip(axes, names, strict=True):
        loss = np.loadtxt(out / f"{name}.csv", delimiter=",", skiprows=1)[:, 1]
        window = max(1, len(loss) // 100)
        smooth = np.convolve(loss, np.ones(window) / window, mode="valid")
        axis.semilogy(np.arange(len(smooth)) + window, smooth)
        axis.set(title=name, xlabel="step", ylabel="loss")
        axis.grid(alpha=0.3, which="both")
    figure.savefig(out / "losses.png", dpi=110)


def main() -> None:
    """Run both stages and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("training"), help="folder of everything written")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(arguments.device)
    codec = train_codec(arguments.out, device)
    transformer, text = train_denoiser(codec, arguments.out, device)
    export(codec, transformer, text, arguments.out)
    plot_losses(arguments.out)


if __name__ == "__main__":
    main()
