"""What torch.load(weights_only=True) raises for damaged files: it runs nothing in them, but reports damage in many ways."""

import pickle
import struct

from ..damage import DAMAGE

TORCH_DAMAGE = (*DAMAGE, OSError, RuntimeError, EOFError, AssertionError, MemoryError, pickle.UnpicklingError, struct.error)
