"""The orbitals of each element from the DFT code's own files, whose format is recognised by content."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..basis import AtomicBasis, Basis
from ..symbols import symbol_of
from .sample import FormatError, Sample

LETTERS = "spdfghi"


def read_basis(files: Mapping[str, str | Path], shells: Mapping[str, str] | None = None) -> Basis:
    """The orbitals of each element from the DFT code's own files, such as {'Bi': 'Bi8.0.pao', 'Se': 'Se7.0.pao'}.

    shells: which of them are meant, such as {'Bi': 's3p2d2', 'Se': 's3p2d2'}; OpenMX's .pao files need it. SIESTA's .ion and
    .ion.xml and ABACUS's .orb files list exactly what was used; shells given for them must agree.
    FormatError for an unknown or damaged file, or one that belongs to another element; FileNotFoundError.
    """
    shells = dict(shells or {})
    if shells.keys() - files.keys():
        raise FormatError(f"shells are given for {sorted(shells.keys() - files.keys())}, basis files only for {sorted(files)}")
    atoms, codes = {}, set()
    for symbol, path in files.items():
        if not Path(path).is_file():
            raise FileNotFoundError(f"no basis file for {symbol} at {path}")
        code, atom = read_atomic_basis(path, shells.get(symbol))
        if symbol_of(atom.number) != symbol:
            raise FormatError(f"{path}: named as the basis of {symbol}, but holds element {atom.number}")
        atoms[atom.number] = atom
        codes.add(code)
    if len(codes) > 1:
        raise FormatError(f"a basis belongs to one code, these files to {sorted(codes)}")
    return Basis(atoms, name=" ".join(f"{symbol}:{Path(path).name}" for symbol, path in files.items()), code="".join(codes))


def read_atomic_basis(path, shells: str | None = None) -> tuple[str, AtomicBasis]:
    """(DFT code, orbitals of the element) of one basis file; shells as in ``read_basis``."""
    path = Path(path)
    text = path.read_text(errors="replace")
    if "pseudo.atomic.orbitals" in text:
        from .openmx import read_pao

        return "OpenMX", read_pao(path, shells)
    if text.lstrip().startswith(("<ion", "<preamble>")):
        from .siesta import read_ion

        code, atom = "SIESTA", read_ion(path)
    elif "orbital-->" in text:
        from .abacus import read_orb

        code, atom = "ABACUS", read_orb(path)
    else:
        raise FormatError(f"{path}: expected OpenMX's .pao, SIESTA's .ion or .ion.xml or ABACUS's .orb, found {text[:40]!r}")
    if shells is not None and sorted(parse_shells(path, shells)) != sorted(atom.angular_momenta):
        raise FormatError(f"{path}: the shells {shells} are asked for, the file holds {name_shells(atom.angular_momenta)}")
    return code, atom


def read_basis_files(arguments: list[str]) -> Basis:
    """The basis in files given as 'Bi8.0.pao:s3p2d2' or 'Si.ion'; the element is the file's."""
    files: dict[str, Path] = {}
    shells = {}
    for argument in arguments:
        name, colon, wanted = (argument, "", "") if Path(argument).is_file() else argument.rpartition(":")
        path = Path(name or argument)
        if not path.is_file():
            raise FileNotFoundError(f"no basis file {path}")
        symbol = _find_symbol(path)
        if symbol in files:
            raise FormatError(f"{path} and {files[symbol]} are both basis files of {symbol}")
        files[symbol] = path
        if colon:
            shells[symbol] = wanted
    return read_basis(files, shells)


def _find_symbol(path: Path) -> str:
    """Of a .pao file, which cannot be read without its shells; of others by reading them."""
    found = re.search(r"^\s*AtomSpecies\s+(\d+)", path.read_text(errors="replace"), re.MULTILINE)
    return symbol_of(int(found.group(1)) if found else read_atomic_basis(path)[1].number)


def parse_shells(path, shells: str | None) -> list[int]:
    """'s2p1' -> [0, 0, 1]; FormatError for another text."""
    parsed = re.fullmatch(r"(?:[a-z][1-9]\d?)+", shells or "")
    counts = [(LETTERS.find(letter), int(count)) for letter, count in re.findall(r"([a-z])(\d+)", shells or "")]
    if parsed is None or any(l < 0 for l, _ in counts):
        raise FormatError(f"{path}: say which shells are meant, such as shells='s3p2d2'; found {shells!r}")
    return [l for l, count in counts for _ in range(count)]


def name_shells(momenta) -> str:
    """[0, 0, 1] -> 's2p1'."""
    return "".join(f"{LETTERS[l]}{list(momenta).count(l)}" for l in sorted(set(momenta)))


def attach_basis(sample: Sample, basis: Basis, *, recount: bool = False) -> Sample:
    """The sample with the radial functions and valence charges of a basis, whose shells must be those of its matrices.

    The electron count follows where the sample does not have one, or with ``recount`` in any case. FormatError if the shells
    differ, ValueError if electrons are to be counted anew and a valence charge is unknown.
    """
    for number in sorted({int(z) for z in sample.structure.numbers}):
        found = basis.atoms.get(number)
        wanted = sample.basis[number].angular_momenta
        if found is None:
            raise FormatError(f"no basis file for {symbol_of(number)}, which the data hold with shells {name_shells(wanted)}")
        if found.angular_momenta != wanted:
            raise FormatError(
                f"the basis file of {symbol_of(number)} gives the shells {name_shells(found.angular_momenta)}, "
                f"the data hold {name_shells(wanted)}"
            )
    info = dict(sample.info)
    known = all(basis[z].valence is not None for z in sample.structure.numbers)
    if recount or (known and "n_electrons" not in info):
        info["n_electrons"] = basis.count_electrons(sample.structure.numbers)
    return replace(sample, basis=basis, info=info)
