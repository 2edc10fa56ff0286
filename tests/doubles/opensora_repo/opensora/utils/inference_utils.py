import torch


def prepare_multi_resolution_info(info_type, batch_size, image_size, num_frames, fps, device, dtype):
    assert info_type in ("STDiT2", "OpenSora")
    facts = {"height": image_size[0], "width": image_size[1], "num_frames": num_frames}
    facts |= {"ar": image_size[0] / image_size[1], "fps": fps if num_frames > 1 else 120}
    return {
        key: torch.tensor([value], device=device, dtype=dtype).repeat(batch_size)
        for key, value in facts.items()
    }


def append_score_to_prompts(prompts, aes=None, flow=None, camera_motion=None):
    return [f"{prompt} aesthetic score: {aes:.1f}." for prompt in prompts]


def apply_mask_strategy(z, refs_x, mask_strategys, loop_i, align=None):
    return torch.stack([torch.ones(z.shape[2], device=z.device) for _ in mask_strategys])
