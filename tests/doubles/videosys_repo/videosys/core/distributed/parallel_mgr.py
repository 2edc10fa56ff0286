import torch.distributed as dist
from colossalai.cluster.process_group_mesh import ProcessGroupMesh


class ParallelManager(ProcessGroupMesh):
    def __init__(self, dp_size, cp_size, sp_size):
        super().__init__(dp_size, cp_size, sp_size)
        self.dp_rank, self.sp_size = dist.get_rank(self.get_group_along_axis(0)), sp_size
