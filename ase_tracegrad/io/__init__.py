"""Files in and out. ``read`` and ``read_basis`` recognise the format by content; each format has its own module."""

from collections.abc import Mapping
from pathlib import Path

from ..basis import Basis
from .sample import FormatError, ReferenceBands, Sample

__all__ = ["FormatError", "ReferenceBands", "Sample", "read", "read_basis"]


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


def read_basis(files: Mapping[str, str | Path], shells: Mapping[str, str] | None = None) -> Basis:
    """The orbitals of each element from the DFT code's own files, such as {'Bi': 'Bi8.0.pao', 'Se': 'Se7.0.pao'}.

    shells: which of them are meant, such as {'Bi': 's3p2d2', 'Se': 's3p2d2'}; OpenMX's .pao files need it,
    SIESTA's .ion and .ion.xml files list exactly what was used. The format is recognised by content.
    FormatError for an unknown or damaged file, or one that belongs to another element.
    """
    from ase.data import atomic_numbers

    from .openmx import read_pao
    from .siesta import read_ion

    atoms, codes = {}, set()
    for symbol, path in files.items():
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no basis file for {symbol} at {path}")
        text = path.read_text(errors="replace")
        if "pseudo.atomic.orbitals" in text:
            codes.add("OpenMX")
            atom = read_pao(path, (shells or {}).get(symbol))
        elif text.lstrip().startswith(("<ion", "<preamble>")):
            codes.add("SIESTA")
            atom = read_ion(path)
        else:
            raise FormatError(f"{path}: expected OpenMX's .pao or SIESTA's .ion or .ion.xml, found {text[:40]!r}")
        if atom.number != atomic_numbers.get(symbol):
            raise FormatError(f"{path}: named as the basis of {symbol}, but holds element {atom.number}")
        atoms[atom.number] = atom
    if len(codes) > 1:
        raise FormatError(f"a basis belongs to one code, these files to {sorted(codes)}")
    return Basis(atoms, name=" ".join(f"{symbol}:{Path(path).name}" for symbol, path in files.items()), code="".join(codes))
