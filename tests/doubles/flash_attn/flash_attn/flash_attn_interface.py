from torch.nn.functional import scaled_dot_product_attention

flash_attn_varlen_func = None  # On a CPU ours takes its place.


def _flash_attn_forward(
    q, k, v, dropout_p, softmax_scale, causal, window_size_left=-1, window_size_right=-1, softcap=0.0,
    alibi_slopes=None, return_softmax=False,
):  # fmt: skip
    assert (window_size_left, window_size_right, softcap, causal) == (-1, -1, 0.0, False)
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    return scaled_dot_product_attention(q, k, v, scale=softmax_scale).transpose(1, 2), None
