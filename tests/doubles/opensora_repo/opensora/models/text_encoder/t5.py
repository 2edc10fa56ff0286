from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

from opensora.registry import MODELS


class AutoTokenizer:
    @classmethod
    def from_pretrained(cls, name, cache_dir=None, local_files_only=False):
        assert (Path(name) / "spiece.model").is_file()
        return cls()

    def __call__(self, texts, max_length, **_):
        ids = [[1 + ord(letter) % 200 for letter in text][:max_length] for text in texts]
        ids = torch.tensor([row + [0] * (max_length - len(row)) for row in ids])
        return {"input_ids": ids, "attention_mask": (ids > 0).long()}


class T5EncoderModel(nn.Module):
    config = SimpleNamespace(d_model=4096)

    @classmethod
    def from_pretrained(cls, name, cache_dir=None, local_files_only=False, **_):
        model = cls()
        model.table.weight.data = torch.load(Path(name) / "pytorch_model.bin", weights_only=True)
        return model

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(256, 4096)

    def forward(self, input_ids, attention_mask):
        return {"last_hidden_state": self.table(input_ids)}


@MODELS.register_module("t5")
class T5Encoder:
    def __init__(self, from_pretrained, model_max_length, device):
        assert from_pretrained == "DeepFloyd/t5-v1_1-xxl", "the original takes no other name"
        self.tokenizer = AutoTokenizer.from_pretrained(from_pretrained, cache_dir=None)
        self.model = T5EncoderModel.from_pretrained(from_pretrained, torch_dtype=torch.float32).eval()
        self.output_dim, self.model_max_length = self.model.config.d_model, model_max_length
        self.y_embedder = None

    def encode(self, text):
        tokens = self.tokenizer(text, max_length=self.model_max_length, padding="max_length")
        return {"y": self.model(**tokens)["last_hidden_state"][:, None], "mask": tokens["attention_mask"]}

    def null(self, n):
        return self.y_embedder.y_embedding[None].repeat(n, 1, 1)[:, None]


def text_preprocessing(text):
    return " ".join(text.lower().split())
