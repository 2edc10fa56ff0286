"""The part of the pipelines that they share; the original repeats it in each."""

import torch
import torch.cuda.amp as amp
import torch.distributed as dist


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


def denoise(pipeline, progress, noise, contexts, arguments, solver, steps, shift, guide_scale, offload_model):
    with amp.autocast(dtype=pipeline.param_dtype), torch.no_grad():
        sigmas, times = timesteps(solver, steps, shift)
        times = times.to(pipeline.device)
        latents = noise
        for i, t in enumerate(progress(times)):
            timestep = torch.stack([t])
            pipeline.model.to(pipeline.device)
            cond, uncond = (
                pipeline.model([latents], t=timestep, context=c, **arguments)[0] for c in contexts
            )
            latents = latents + (sigmas[i + 1] - sigmas[i]) * (uncond + guide_scale * (cond - uncond))
        if offload_model:
            pipeline.model.cpu()
            torch.cuda.synchronize()
        if pipeline.rank == 0:
            videos = pipeline.vae.decode([latents])
    if dist.is_initialized():
        dist.barrier()
    return videos[0] if pipeline.rank == 0 else None
