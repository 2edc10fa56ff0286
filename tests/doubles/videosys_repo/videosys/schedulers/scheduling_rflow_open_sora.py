import torch


def timestep_transform(t, model_kwargs, num_timesteps=1):
    space = (model_kwargs["height"] * model_kwargs["width"] / 512**2).sqrt()
    frames = model_kwargs["num_frames"]
    frames = frames if frames[0] == 1 else frames // 17 * 5
    ratio = space * frames.sqrt()
    t = t / num_timesteps
    return ratio * t / (1 + (ratio - 1) * t) * num_timesteps


class RFLOW:
    def __init__(self, num_sampling_steps=10, cfg_scale=4.0, use_timestep_transform=False):
        assert use_timestep_transform
        self.num_sampling_steps, self.cfg_scale = num_sampling_steps, cfg_scale

    def sample(self, model, z, model_args, y_null, device, mask=None, guidance_scale=None, progress=True):
        assert not progress
        model_args["y"] = torch.cat([model_args["y"], y_null])
        steps = self.num_sampling_steps
        times = [torch.tensor([1000 * (1 - i / steps)], device=device) for i in range(steps)]
        times = [timestep_transform(t, model_args, num_timesteps=1000) for t in times]
        model_args["all_timesteps"] = [int(t) for t in times]
        for t, after in zip(times, [*times[1:], torch.zeros(1)], strict=True):
            model_args["x_mask"] = (1000 * mask >= t[:, None]).repeat(2, 1)
            velocity = model(torch.cat([z, z]), torch.cat([t, t]), **model_args).chunk(2, dim=1)[0]
            conditional, unconditional = velocity.chunk(2)
            velocity = unconditional + self.cfg_scale * (conditional - unconditional)
            z = z + velocity * ((t - after) / 1000)[:, None, None, None, None]
        return z
