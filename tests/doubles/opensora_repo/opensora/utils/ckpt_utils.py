from colossalai.booster import Booster
from colossalai.checkpoint_io import GeneralCheckpointIO

__all__ = ["Booster", "GeneralCheckpointIO"]
