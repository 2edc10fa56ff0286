import torch

try:
    from flash_attn.flash_attn_interface import flash_attn_varlen_func
except ImportError:
    flash_attn_varlen_func = None


def get_cu_seqlens(text_mask, img_len):
    lengths = torch.zeros([2 * text_mask.shape[0] + 1], dtype=torch.int32, device="cuda")
    raise AssertionError(f"there is no GPU, and yet {lengths}")


def attention(
    q, k, v, mode="flash", cu_seqlens_q=None, cu_seqlens_kv=None, max_seqlen_q=None, max_seqlen_kv=None,
    batch_size=1,
):  # fmt: skip
    packed = (part.reshape(-1, *part.shape[2:]) for part in (q, k, v))
    x = flash_attn_varlen_func(*packed, cu_seqlens_q, cu_seqlens_kv, max_seqlen_q, max_seqlen_kv)
    return x.view(batch_size, max_seqlen_q, -1)
