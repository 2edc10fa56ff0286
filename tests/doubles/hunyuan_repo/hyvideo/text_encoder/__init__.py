from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import load_file
from torch import nn

from ..constants import PRECISION_TO_TYPE, TEXT_ENCODER_PATH, TOKENIZER_PATH


class TextEncoder(nn.Module):
    def __init__(
        self, text_encoder_type, max_length, text_encoder_precision=None, text_encoder_path=None,
        tokenizer_type=None, tokenizer_path=None, output_key=None, use_attention_mask=True,
        input_max_length=None, prompt_template=None, prompt_template_video=None, hidden_state_skip_layer=None,
        apply_final_norm=False, reproduce=False, logger=None, device=None,
    ):  # fmt: skip
        super().__init__()
        self.kind, self.size, self.templates = (
            text_encoder_type,
            max_length,
            (prompt_template, prompt_template_video),
        )
        assert Path(TOKENIZER_PATH[tokenizer_type], "tokenizer_config.json").exists()
        weights = load_file(Path(TEXT_ENCODER_PATH[text_encoder_type], "model.safetensors"))["bytes"]
        self.dtype = PRECISION_TO_TYPE[text_encoder_precision]
        self.model = nn.Embedding.from_pretrained(weights.to(device, self.dtype))

    def text2tokens(self, text, data_type="image"):
        template = self.templates[data_type == "video"]
        texts = [template["template"].format(one) if template else one for one in text]
        rows = [list(one.encode())[: self.size] for one in texts]
        ids = torch.tensor([row + [0] * (self.size - len(row)) for row in rows])
        return {"input_ids": ids, "attention_mask": (ids > 0).long()}

    def encode(self, batch_encoding, data_type="image", device=None):
        states, mask = (
            self.model(batch_encoding["input_ids"].to(device)),
            batch_encoding["attention_mask"].to(device),
        )
        if self.kind == "clipL":
            return SimpleNamespace(hidden_state=states.mean(1), attention_mask=mask)
        crop = self.templates[data_type == "video"]["crop_start"]
        return SimpleNamespace(hidden_state=states[:, crop:], attention_mask=mask[:, crop:])
