import torch


def get_image_size(resolution, ar_ratio):
    return {("144p", "1:1"): (192, 192), ("240p", "16:9"): (426, 240)}[resolution, ar_ratio]


def prepare_multi_resolution_info(info_type, batch_size, image_size, num_frames, fps, device, dtype):
    assert info_type == "OpenSora"
    facts = {"height": image_size[0], "width": image_size[1], "num_frames": num_frames, "fps": fps}
    return {
        key: torch.tensor([value], device=device, dtype=dtype).repeat(batch_size)
        for key, value in facts.items()
    }
