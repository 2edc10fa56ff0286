import torch


def convert_fp8_linear(module, dit_weight_path, original_dtype):
    module.scales = torch.load(dit_weight_path.replace(".pt", "_map.pt"))
