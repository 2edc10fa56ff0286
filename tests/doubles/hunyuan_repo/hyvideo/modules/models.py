import torch
from torch import nn

from .attenion import attention, get_cu_seqlens

HUNYUAN_VIDEO_CONFIG = {
    "HYVideo-T/2": {
        "mm_double_blocks_depth": 1, "mm_single_blocks_depth": 1, "rope_dim_list": [4, 4, 4],
        "hidden_size": 24, "heads_num": 2, "mlp_width_ratio": 4,
    },
}  # fmt: skip
HUNYUAN_VIDEO_CONFIG["HYVideo-T/2-cfgdistill"] = {
    **HUNYUAN_VIDEO_CONFIG["HYVideo-T/2"],
    "guidance_embed": True,
}


def attend(qkv, heads, lengths):
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).unbind(2)
    assert lengths.shape[0] == 2 * len(qkv) + 1
    size = qkv.shape[1]
    return attention(
        q, k, v, cu_seqlens_q=lengths, cu_seqlens_kv=lengths, max_seqlen_q=size, max_seqlen_kv=size,
        batch_size=len(qkv),
    )  # fmt: skip


def modulated(x, shift, scale):
    return nn.functional.layer_norm(x, x.shape[-1:]) * (1 + scale[:, None]) + shift[:, None]


class MMDoubleStreamBlock(nn.Module):
    """The video's tokens with the text's beside them; here these have the same layers."""

    def __init__(self, hidden_size, heads_num, dtype=None, device=None):
        super().__init__()
        size, kind = hidden_size, {"dtype": dtype, "device": device}
        self.heads = heads_num
        self.img_mod = nn.Linear(size, 6 * size, **kind)
        self.img_norm1 = nn.LayerNorm(size, elementwise_affine=False, **kind)
        self.qkv = nn.Linear(size, 3 * size, **kind)
        self.mlp = nn.Linear(size, size, **kind)
        nn.init.zeros_(self.img_mod.weight)

    def forward(self, img, txt, vec, cu_seqlens_q):
        shift, scale, gate = self.img_mod(vec).chunk(6, dim=-1)[:3]
        x = torch.cat([img, txt], 1)
        y = attend(self.qkv(modulated(x, shift, scale)), self.heads, cu_seqlens_q)
        x = x + gate[:, None] * torch.tanh(self.mlp(y))
        return x[:, : img.shape[1]], x[:, img.shape[1] :]


class MMSingleStreamBlock(nn.Module):
    """All tokens in one sequence."""

    def __init__(self, hidden_size, heads_num, dtype=None, device=None):
        super().__init__()
        size, kind = hidden_size, {"dtype": dtype, "device": device}
        self.heads = heads_num
        self.modulation = nn.Linear(size, 3 * size, **kind)
        self.qkv = nn.Linear(size, 3 * size, **kind)
        self.mlp = nn.Linear(size, size, **kind)
        nn.init.zeros_(self.modulation.weight)

    def forward(self, x, vec, cu_seqlens_q):
        shift, scale, gate = self.modulation(vec).chunk(3, dim=-1)
        y = attend(self.qkv(modulated(x, shift, scale)), self.heads, cu_seqlens_q)
        return x + gate[:, None] * torch.tanh(self.mlp(y))


class HYVideoDiffusionTransformer(nn.Module):
    def __init__(
        self, args, in_channels=4, out_channels=None, hidden_size=3072, heads_num=24, mlp_width_ratio=4.0,
        mm_double_blocks_depth=20, mm_single_blocks_depth=40, rope_dim_list=(16, 56, 56),
        guidance_embed=False, dtype=None, device=None,
    ):  # fmt: skip
        super().__init__()
        kind = {"dtype": dtype, "device": device}
        assert sum(rope_dim_list) == hidden_size // heads_num
        self.patch_size, self.hidden_size, self.heads_num = [1, 2, 2], hidden_size, heads_num
        self.in_channels = in_channels
        self.img_in = nn.Module()
        self.img_in.proj = nn.Conv3d(in_channels, hidden_size, (1, 2, 2), (1, 2, 2), **kind)
        self.txt_in = nn.Linear(4096, hidden_size, **kind)
        self.time_in = nn.Linear(1, hidden_size, **kind)
        self.vector_in = nn.Linear(768, hidden_size, **kind)
        self.guidance_in = nn.Linear(1, hidden_size, **kind) if guidance_embed else None
        self.double_blocks, self.single_blocks = (
            nn.ModuleList(block(hidden_size, heads_num, **kind) for _ in range(depth))
            for block, depth in (
                (MMDoubleStreamBlock, mm_double_blocks_depth),
                (MMSingleStreamBlock, mm_single_blocks_depth),
            )
        )
        self.final_layer = nn.Linear(hidden_size, 4 * out_channels)
        nn.init.zeros_(self.final_layer.weight)

    def forward(
        self, x, t, text_states=None, text_mask=None, text_states_2=None, freqs_cos=None, freqs_sin=None,
        guidance=None, return_dict=True,
    ):  # fmt: skip
        if guidance is None:
            raise ValueError("Didn't get guidance strength for guidance distilled model.")
        vec = self.time_in(t[:, None] / 1000) + self.vector_in(text_states_2)
        vec = vec + self.guidance_in(guidance[:, None] / 1000)
        img, txt = self.img_in.proj(x), self.txt_in(text_states)
        frames, height, width = img.shape[2:]
        img = img.flatten(2).transpose(1, 2)
        lengths = get_cu_seqlens(text_mask, img.shape[1])
        for block in self.double_blocks:
            img, txt = block(img, txt, vec, lengths)
        h = torch.cat([img, txt], dim=1)
        for block in self.single_blocks:
            h = block(h, vec, lengths)
        h = self.final_layer(nn.functional.layer_norm(h[:, : img.shape[1]], h.shape[-1:]))
        h = h.view(len(x), frames, height, width, 2, 2, -1).permute(0, 6, 1, 2, 4, 3, 5)
        h = h.reshape(len(x), -1, frames, 2 * height, 2 * width)
        return {"x": h} if return_dict else h
