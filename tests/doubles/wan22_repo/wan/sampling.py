"""The part of the pipelines that they share; the original repeats it in each."""

import os
from math import sqrt

import numpy as np
import torch
import torch.distributed as dist


def start(pipeline, config, folder, device, rank, t5_cpu, encoder, vae):
    pipeline.device, pipeline.config, pipeline.rank, pipeline.t5_cpu = device, config, rank, t5_cpu
    pipeline.param_dtype, pipeline.sample_neg_prompt = config.param_dtype, config.sample_neg_prompt
    pipeline.text_encoder = encoder(
        text_len=config.text_len,
        dtype=config.t5_dtype,
        device=torch.device("cpu"),
        checkpoint_path=os.path.join(folder, config.t5_checkpoint),
        tokenizer_path=os.path.join(folder, config.t5_tokenizer),
        shard_fn=None,
    )
    pipeline.vae = vae(vae_pth=os.path.join(folder, config.vae_checkpoint), device=device)


def configured(pipeline, model, use_sp, dit_fsdp, convert_model_dtype):
    assert not use_sp, "this double has no sequence parallel"
    assert not dit_fsdp, "this double has no FSDP"
    model.eval().requires_grad_(False)
    return model.to(pipeline.param_dtype) if convert_model_dtype else model


def load_experts(pipeline, model_class, folder, use_sp, dit_fsdp, convert_model_dtype):
    for name in ("low_noise", "high_noise"):
        model = model_class.from_pretrained(folder, subfolder=pipeline.config[f"{name}_checkpoint"])
        model = configured(pipeline, model, use_sp, dit_fsdp, convert_model_dtype)
        setattr(pipeline, f"{name}_model", model)


def timesteps(solver, steps, shift):
    if solver not in ("unipc", "dpm++"):
        raise NotImplementedError("Unsupported solver.")
    sigmas = torch.linspace(0.999 if solver == "unipc" else 1.0, 0, steps + 1)
    sigmas = shift * sigmas / (1 + (shift - 1) * sigmas)
    return sigmas, (1000 * sigmas[:-1]).long()


def encode(pipeline, prompt, n_prompt, offload_model):
    device = torch.device("cpu") if pipeline.t5_cpu else pipeline.device
    pipeline.text_encoder.model.to(device)
    texts = [
        pipeline.text_encoder([text], device) for text in (prompt, n_prompt or pipeline.sample_neg_prompt)
    ]
    if offload_model:
        pipeline.text_encoder.model.cpu()
    return [[u.to(pipeline.device) for u in text] for text in texts]


def noise_like(pipeline, frame_num, height, width, seed):
    """Noise of a video, and how many tokens it is."""
    _, rows, columns = pipeline.config.vae_stride
    shape = (pipeline.vae.model.z_dim, (frame_num - 1) // 4 + 1, height // rows, width // columns)
    generator = torch.Generator(device=pipeline.device).manual_seed(seed)
    noise = torch.randn(shape, device=pipeline.device, generator=generator)
    return noise, shape[1] * shape[2] * shape[3] // 4


def pixels_of(img, max_area, multiple):
    """Height and width of about that area in the proportions of a picture."""
    aspect = img.height / img.width
    return [int(sqrt(max_area * ratio)) // multiple * multiple for ratio in (aspect, 1 / aspect)]


def first_frame(img, frames, height, width):
    """A video [3, frames, H, W] that starts with a picture and is grey after it."""
    picture = torch.from_numpy(np.array(img)).permute(2, 0, 1).float() / 127.5 - 1
    first = torch.nn.functional.interpolate(picture[None], (height, width), mode="bicubic")[0, :, None]
    return torch.cat([first, torch.zeros(3, frames - 1, height, width)], dim=1)


def active(pipeline, t):
    """The expert for a timestep, the other one moved away, and whether it is the first."""
    high = t.item() >= 1000 * pipeline.config.boundary
    names = ("high_noise_model", "low_noise_model")
    getattr(pipeline, names[high]).to("cpu")
    return getattr(pipeline, names[not high]).to(pipeline.device), high


def denoise(pipeline, progress, noise, contexts, arguments, solver, steps, shift, guide_scale, given=None):
    """`given` is the first frame of the latents, which stays as it is and is at timestep 0."""
    with torch.amp.autocast("cuda", dtype=pipeline.param_dtype), torch.no_grad():
        sigmas, times = timesteps(solver, steps, shift)
        times = times.to(pipeline.device)
        latents = noise
        per_token = not hasattr(pipeline, "high_noise_model")
        for i, t in enumerate(progress(times)):
            timestep, scale = torch.stack([t]), guide_scale
            if per_token:
                model = pipeline.model.to(pipeline.device)
                timestep = timestep.expand(1, arguments["seq_len"]).float().clone()
                if given is not None:
                    latents = torch.cat([given, latents[:, 1:]], dim=1)
                    timestep[:, : timestep.shape[1] // latents.shape[1]] = 0
            else:
                model, high = active(pipeline, t)
                scale = guide_scale[high]
            cond, uncond = (model([latents], t=timestep, context=c, **arguments)[0] for c in contexts)
            latents = latents + (sigmas[i + 1] - sigmas[i]) * (uncond + scale * (cond - uncond))
        if given is not None:
            latents = torch.cat([given, latents[:, 1:]], dim=1)
        if pipeline.rank == 0:
            videos = pipeline.vae.decode([latents])
    if dist.is_initialized():
        dist.barrier()
    return videos[0] if pipeline.rank == 0 else None
