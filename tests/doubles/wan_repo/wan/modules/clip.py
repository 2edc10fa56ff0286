from .attention import flash_attention


class CLIPModel:
    def __init__(self, dtype, device, checkpoint_path, tokenizer_path):
        raise NotImplementedError("the double has no CLIP weights")

    def visual(self, videos):
        return flash_attention(videos, videos, videos, version=2)
