"""Files in and out. ``read`` recognises the format by content; each format has its own module."""

from pathlib import Path

from .sample import FormatError, ReferenceBands, Sample

__all__ = ["FormatError", "ReferenceBands", "Sample", "read"]


def read(path) -> Sample:
    """The Sample in a DeepH folder (legacy or new) or in a packed file that holds exactly one.

    FileNotFoundError if there is nothing at ``path``, FormatError if the content is not recognised or damaged.
    """
    path = Path(path)
    if path.is_dir():
        from .deeph import LEGACY_FILES, NEW_FILES, read_deeph, read_deeph_legacy

        for name, reader in ((LEGACY_FILES["hamiltonian"], read_deeph_legacy), (NEW_FILES["hamiltonian"], read_deeph)):
            if (path / name).exists():
                return reader(path)
        raise FormatError(
            f"{path}: expected a DeepH folder with {LEGACY_FILES['hamiltonian']} (legacy) or {NEW_FILES['hamiltonian']} (new), "
            f"found {sorted(p.name for p in path.iterdir())[:12]}"
        )
    from .store import StoreReader

    with StoreReader(path) as store:
        if len(store) != 1:
            raise FormatError(f"{path} holds {len(store)} samples, expected one: use ase_tracegrad.io.store.StoreReader to choose")
        return store[store.names[0]]
