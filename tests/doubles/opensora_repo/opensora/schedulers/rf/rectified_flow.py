def timestep_transform(t, facts, num_timesteps):
    space = (facts["height"] * facts["width"] / 512**2).sqrt()
    frames = facts["num_frames"] if facts["num_frames"][0] == 1 else facts["num_frames"] // 17 * 5
    ratio = space * frames.sqrt()
    t = t / num_timesteps
    return ratio * t / (1 + (ratio - 1) * t) * num_timesteps
