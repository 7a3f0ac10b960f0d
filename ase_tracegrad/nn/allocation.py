"""A limit of memory for what is built from the settings in a file, which may ask for any size."""

import math

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class TooLargeError(ValueError):
    """More memory is asked for than the limit."""


class AllocationLimit(TorchDispatchMode):
    """``with AllocationLimit(n_bytes)``: bytes of all tensors made in it, kept or not; TooLargeError before one is filled."""

    def __init__(self, n_bytes: int):
        super().__init__()
        self.limit = self.left = n_bytes

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        first = args[0] if args and isinstance(args[0], list | tuple) else ()
        size = first if first and all(isinstance(n, int) for n in first) else ()  # not the tensors of cat and stack
        if size:
            self._take(8 * math.prod(size))  # a new tensor of this size, not yet there
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and not size and not any(_share(made, given) for given in args):
            self._take(made.nbytes)
        return made

    def _take(self, n_bytes: int):
        self.left -= n_bytes
        if self.left < 0:
            raise TooLargeError(f"the settings ask for a network of more than {self.limit / 1e9:.1f} GB")


def _share(made: Tensor, given) -> bool:
    """Whether a result is a view of an argument, or the argument itself."""
    return isinstance(given, Tensor) and made.untyped_storage().data_ptr() == given.untyped_storage().data_ptr()
