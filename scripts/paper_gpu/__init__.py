"""A GPU on paper: CUDA tensors with a shape, a type and a device, but no memory behind them.

Everything else is real: the official code, its samplers, the site, the session and what it decides. So a
machine without a GPU can see what only a GPU would show: tensors on two devices in one operation, wrong
types, how often the host waits for the device, and the memory a generation takes at full size.
"""

from scripts.paper_gpu.gpu import PaperGpu
from scripts.paper_gpu.ledger import Ledger

__all__ = ["Ledger", "PaperGpu"]
