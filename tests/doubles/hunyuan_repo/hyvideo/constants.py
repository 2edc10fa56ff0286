import os

import torch

MODEL_BASE = os.getenv("MODEL_BASE", "./ckpts")
PRECISION_TO_TYPE = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
VAE_PATH = {"884-16c-hy": f"{MODEL_BASE}/hunyuan-video-t2v-720p/vae"}
TEXT_ENCODER_PATH = {"clipL": f"{MODEL_BASE}/text_encoder_2", "llm": f"{MODEL_BASE}/text_encoder"}
TOKENIZER_PATH = dict(TEXT_ENCODER_PATH)
PROMPT_TEMPLATE = {
    "dit-llm-encode": {"template": "An image of {}", "crop_start": 3},
    "dit-llm-encode-video": {"template": "A video with {}", "crop_start": 5},
}
NEGATIVE_PROMPT = "ugly"
