"""How many electrons the pseudopotential of each element leaves, by DFT code, for data that do not say it."""

from collections.abc import Mapping
from dataclasses import replace

from ..basis import Basis
from ..symbols import number_of, symbol_of

# DFT_DATA13 and DFT_DATA19, PBE (T. Ozaki, https://www.jaist.ac.jp/~t-ozaki/vps_pao2019): twice the initial charge per spin
# that HamGNN's OpenMX interface lists (by openmx_man3.9/node32.html their sum is the pseudopotential's), the same as in the
# table that HPRO 0.3.1 ships; C, S, Se, Mo, Te and Bi are checked against valence.electron of the .pao files.
OPENMX = """
H 1 He 2 Li 3 Be 2 B 3 C 4 N 5 O 6 F 7 Ne 8 Na 9 Mg 8 Al 3 Si 4 P 5 S 6 Cl 7 Ar 8 K 9 Ca 10 Sc 11 Ti 12 V 13 Cr 14 Mn 15
Fe 16 Co 17 Ni 18 Cu 19 Zn 20 Ga 13 Ge 4 As 15 Se 6 Br 7 Kr 8 Rb 9 Sr 10 Y 11 Zr 12 Nb 13 Mo 14 Tc 15 Ru 14 Rh 15 Pd 16
Ag 17 Cd 12 In 13 Sn 14 Sb 15 Te 16 I 7 Xe 8 Cs 9 Ba 10 La 11 Ce 12 Pr 13 Nd 14 Pm 15 Sm 16 Dy 20 Ho 21 Lu 11 Hf 12 Ta 13
W 12 Re 15 Os 14 Ir 15 Pt 16 Au 17 Hg 18 Tl 19 Pb 14 Bi 15
"""
# SG15 ONCV potentials, the set ABACUS's own orbitals were made for: M. Schlipf and F. Gygi, Comput. Phys. Commun. 196, 36
# (2015), http://www.quantum-simulation.org/potentials/sg15_oncv. From a public list of their z_valence, not from the .upf files.
ABACUS = """
H 1 He 2 Li 3 Be 4 B 3 C 4 N 5 O 6 F 7 Ne 8 Na 9 Mg 10 Al 11 Si 4 P 5 S 6 Cl 7 Ar 8 K 9 Ca 10 Sc 11 Ti 12 V 13 Cr 14 Mn 15
Fe 16 Co 17 Ni 18 Cu 19 Zn 20 Ga 13 Ge 14 As 5 Se 6 Br 7 Kr 8 Rb 9 Sr 10 Y 11 Zr 12 Nb 13 Mo 14 Tc 15 Ru 16 Rh 17 Pd 18
Ag 19 Cd 20 In 13 Sn 14 Sb 15 Te 16 I 17 Xe 18 Cs 9 Ba 10 La 11 Hf 26 Ta 27 Au 19 Tl 13 Pb 14 Bi 15
"""


def _parse(table: str) -> dict[int, float]:
    words = table.split()
    return {number_of(symbol): float(count) for symbol, count in zip(words[::2], words[1::2], strict=True)}


# All-electron codes count every electron.
_ALL_ELECTRON = {number: float(number) for number in range(1, 119)}
VALENCE = {"openmx": _parse(OPENMX), "abacus": _parse(ABACUS), "aims": _ALL_ELECTRON, "pyscf": _ALL_ELECTRON}


def set_valence(basis: Basis, code: str = "", changes: Mapping[str, float] | None = None) -> Basis:
    """The basis with valence charges: from ``changes`` (by symbol), else as the basis has it, else from the table of ``code``.

    code: 'openmx', 'abacus' (SG15), 'aims' or 'pyscf'; '' uses no table. SIESTA has no standard set: its .ion files tell.
    ValueError for another code or symbol, and for elements that the table of ``code`` lacks.
    """
    if code and code.lower() not in VALENCE:
        raise ValueError(f"no table of valence electrons for {code!r}; there are {', '.join(VALENCE)}: give them one by one")
    table = VALENCE.get(code.lower(), {})
    chosen = {number_of(symbol): float(count) for symbol, count in (changes or {}).items()}
    atoms = {}
    for number, atom in basis.atoms.items():
        valence = chosen.get(number, table.get(number) if atom.valence is None else atom.valence)
        if code and valence is None:
            raise ValueError(f"the table of {code} has no {symbol_of(number)}: give its number of valence electrons")
        atoms[number] = replace(atom, valence=valence)
    return replace(basis, atoms=atoms)
