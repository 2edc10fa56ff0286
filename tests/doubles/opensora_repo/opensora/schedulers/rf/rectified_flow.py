def timestep_transform(t, model_kwargs, num_timesteps):
    space = (model_kwargs["height"] * model_kwargs["width"] / 512**2).sqrt()
    frames = model_kwargs["num_frames"]
    frames = frames if frames[0] == 1 else frames // 17 * 5
    ratio = space * frames.sqrt()
    t = t / num_timesteps
    return ratio * t / (1 + (ratio - 1) * t) * num_timesteps
