import torch
import torch.distributed as dist

_degrees = {}


def init_distributed_environment(world_size=-1, rank=-1, **_):
    assert (dist.get_world_size(), dist.get_rank()) == (world_size, rank)


def initialize_model_parallel(*, sequence_parallel_degree=1, ulysses_degree=1, ring_degree=1):
    assert sequence_parallel_degree == ulysses_degree * ring_degree == dist.get_world_size()
    _degrees["sequence"] = sequence_parallel_degree


def get_sequence_parallel_world_size():
    return _degrees["sequence"]


def get_sequence_parallel_rank():
    return dist.get_rank()


class _Group:
    def all_gather(self, part, dim=0):
        parts = [torch.empty_like(part) for _ in range(_degrees["sequence"])]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts, dim=dim)


def get_sp_group():
    return _Group()
