from xfuser.core.distributed import (
    get_sequence_parallel_rank,
    get_sequence_parallel_world_size,
    get_sp_group,
)


def usp_dit_forward(self, x, t, context, seq_len, vace_context=None, clip_fea=None, y=None):
    """Whole latents in and out, parts in between; a process that skips alone leaves the others waiting."""
    (whole,) = type(self).forward(self, x, t, context, seq_len, clip_fea=clip_fea, y=y)
    part = whole.chunk(get_sequence_parallel_world_size(), dim=-1)[get_sequence_parallel_rank()]
    return [get_sp_group().all_gather(part, dim=-1)]
