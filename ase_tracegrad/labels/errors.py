"""What can go wrong with a label, whichever code computes it."""


class LabelError(RuntimeError):
    """A DFT code could not give labels for this structure; the message says why and where its output is."""


class ScfNotConvergedError(LabelError):
    """The self-consistency loop ran out of steps."""
