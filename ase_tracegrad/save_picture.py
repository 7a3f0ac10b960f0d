"""Pictures of the command line: drawn to files, complete or not at all."""

from pathlib import Path

from .replace_file import replace_file

RESOLUTION = 200  # dots per inch of .png; on the screen figures have fewer


def load_plots():
    """The plot module, drawing to files: a command line opens no windows."""
    import matplotlib

    matplotlib.use("agg")
    from . import plot

    return plot


def save_picture(axes, out: Path):
    """Write the figure of these axes in the format that the file's name ends with, and forget it."""
    import matplotlib.pyplot as plt

    with replace_file(out) as part:
        axes.figure.savefig(part, format=out.suffix[1:], dpi=RESOLUTION)
    plt.close(axes.figure)
