import argparse

from .modules.models import HUNYUAN_VIDEO_CONFIG


def parse_args(namespace=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=list(HUNYUAN_VIDEO_CONFIG), default="HYVideo-T/2-cfgdistill")
    parser.add_argument("--latent-channels", type=str, default=16)
    parser.add_argument("--precision", default="bf16", choices=["fp32", "fp16", "bf16"])
    parser.add_argument("--vae", default="884-16c-hy")
    parser.add_argument("--vae-precision", default="fp16", choices=["fp32", "fp16", "bf16"])
    parser.add_argument("--text-encoder-precision", default="fp16", choices=["fp32", "fp16", "bf16"])
    parser.add_argument("--text-encoder-precision-2", default="fp16", choices=["fp32", "fp16", "bf16"])
    parser.add_argument("--text-len", type=int, default=256)
    parser.add_argument("--text-len-2", type=int, default=77)
    parser.add_argument("--flow-shift", type=float, default=7.0)
    parser.add_argument("--flow-reverse", action="store_true")
    parser.add_argument("--model-resolution", default="540p", choices=["540p", "720p"])
    parser.add_argument("--dit-weight", type=str, default="ckpts/mp_rank_00_model_states.pt")
    parser.add_argument("--load-key", type=str, default="module")
    parser.add_argument("--use-cpu-offload", action="store_true")
    parser.add_argument("--use-fp8", action="store_true")
    parser.add_argument("--disable-autocast", action="store_true")
    parser.add_argument("--ulysses-degree", type=int, default=1)
    parser.add_argument("--ring-degree", type=int, default=1)
    return parser.parse_args(namespace=namespace)
