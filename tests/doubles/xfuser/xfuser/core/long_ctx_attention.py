import torch
from torch.nn.functional import scaled_dot_product_attention

from .distributed import get_sp_group


class xFuserLongContextAttention:  # noqa: N801 the real one's name
    def __call__(
        self, attn, query, key, value, *, dropout_p=0.0, causal=False, window_size=(-1, -1),
        joint_tensor_query=None, joint_tensor_key=None, joint_tensor_value=None, joint_strategy="none",
    ):  # fmt: skip
        assert (attn, dropout_p, causal, window_size) == (None, 0.0, False, (-1, -1))
        key, value = (get_sp_group().all_gather(part, dim=1) for part in (key, value))
        if joint_strategy == "rear":  # Tokens that every process has, such as those of a text.
            joint = (joint_tensor_query, joint_tensor_key, joint_tensor_value)
            query, key, value = (
                torch.cat(parts, dim=1) for parts in zip((query, key, value), joint, strict=True)
            )
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        # Wan2.1 leaves types to CUDA autocast; without it the weights that follow are float32.
        return scaled_dot_product_attention(query, key, value).transpose(1, 2).float()
