"""Files in and out. ``read`` and ``read_basis`` recognise the format by content; each format has its own module."""

from pathlib import Path

from .basis_files import read_basis
from .sample import FormatError, ReferenceBands, Sample

__all__ = ["FormatError", "ReferenceBands", "Sample", "read", "read_basis"]


def read(path) -> Sample:
    """The Sample in a DeepH folder (legacy or new), in a .HSX file of SIESTA or its folder, or in a packed file of one.

    FileNotFoundError if there is nothing at ``path``, FormatError if the content is not recognised or damaged.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"nothing at {path}: expected a DeepH folder (legacy or new), a .HSX file of SIESTA or its folder, or a packed file"
        )
    if path.suffix == ".HSX":
        from .hsx import read_hsx

        return read_hsx(path)
    from .folders import open_samples

    with open_samples(path) as samples:
        if len(samples) != 1:
            raise FormatError(
                f"{path} holds {len(samples)} structures, expected one: ase_tracegrad.io.folders.open_samples gives each by name"
            )
        return samples[samples.names[0]]
