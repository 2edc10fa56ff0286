import torch


class Settings(dict):
    """A dictionary whose items are attributes too."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    __setattr__ = dict.__setitem__


SHARED = {
    "t5_dtype": torch.bfloat16, "text_len": 512, "param_dtype": torch.bfloat16, "num_train_timesteps": 1000,
    "sample_neg_prompt": "the official negative prompt", "t5_checkpoint": "models_t5_umt5-xxl-enc-bf16.pth",
    "t5_tokenizer": "google/umt5-xxl", "vae_checkpoint": "Wan2.1_VAE.pth", "vae_stride": (4, 8, 8),
    "patch_size": (1, 2, 2), "freq_dim": 256,
}  # fmt: skip
EXPERTS = {"low_noise_checkpoint": "low_noise_model", "high_noise_checkpoint": "high_noise_model"}
# Far narrower than the real ones, so that full-size random weights run here too.
LARGER = Settings(SHARED, dim=32, ffn_dim=64, num_heads=2, num_layers=3)

WAN_CONFIGS = {
    "t2v-A14B": Settings(LARGER, **EXPERTS, boundary=0.875),
    "i2v-A14B": Settings(LARGER, **EXPERTS, boundary=0.9),
    "ti2v-5B": Settings(LARGER, dim=24, vae_checkpoint="Wan2.2_VAE.pth", vae_stride=(4, 16, 16)),
}
