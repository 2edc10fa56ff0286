import torch

from opensora.registry import SCHEDULERS

from .rectified_flow import timestep_transform


@SCHEDULERS.register_module("rflow")
class RFLOW:
    def __init__(self, num_sampling_steps=10, cfg_scale=4.0, use_timestep_transform=False):
        assert use_timestep_transform
        self.steps, self.scale = num_sampling_steps, cfg_scale

    def sample(
        self, model, text_encoder, z, prompts, device, additional_args=None, mask=None, guidance_scale=None,
        progress=True,
    ):  # fmt: skip
        assert not progress
        arguments = text_encoder.encode(prompts)
        arguments["y"] = torch.cat([arguments["y"], text_encoder.null(len(prompts))])
        arguments.update(additional_args)
        times = [torch.tensor([1000 * (1 - i / self.steps)], device=device) for i in range(self.steps)]
        times = [timestep_transform(t, additional_args, num_timesteps=1000) for t in times]
        for t, after in zip(times, [*times[1:], torch.zeros(1, device=device)], strict=True):
            arguments["x_mask"] = (1000 * mask >= t[:, None]).repeat(2, 1)
            velocity = model(torch.cat([z, z]), torch.cat([t, t]), **arguments).chunk(2, dim=1)[0]
            conditional, unconditional = velocity.chunk(2)
            velocity = unconditional + self.scale * (conditional - unconditional)
            z = z + velocity * ((t - after) / 1000)[:, None, None, None, None]
        return z
