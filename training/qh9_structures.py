"""The QH9-like set as a rule: molecules of H, C, N, O, F with up to 9 heavy atoms, several geometries of each.

Molecules: the closed shells of ASE's g2 set, and molecules grown from SMILES (smiles_molecules.py). Geometries: the minimum
(g2: MP2, SMILES: MMFF94) and thermal ones (molecule_geometries.py). A molecule is in one split with all its geometries; those
with more than LARGEST_TRAINED heavy atoms are the split 'larger'.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.collections import g2
from ase.io import read
from label_rules import mix_groups, split_of
from molecule_geometries import bonds_of, constitution_key, draw_thermal, spring_modes
from smiles_molecules import grow_molecules, read_smiles

ELEMENTS = {1, 6, 7, 8, 9}
LARGEST_TRAINED = 5
TEMPERATURES = (300.0, 800.0)  # K, in turn
GEOMETRIES = {0: 8, 1: 8, 2: 10, 3: 10, 4: 7, 5: 4, 6: 4, 7: 2, 8: 2, 9: 2}  # of each molecule, by its heavy atoms
DEEP = 1120  # of the geometries of the molecules in GROWN and of g2, as many from the beginning of their mixture
BROAD = {5: 200}  # further molecules from SMILES, the minimum and one thermal geometry of each: new molecules teach more
GROWN = {2: 6, 3: 40, 4: 75, 5: 60, 6: 24, 7: 12, 8: 8, 9: 8}  # molecules from SMILES, by heavy atoms


@dataclass(frozen=True)
class MoleculeStructure:
    """One geometry; source: of the molecule, 'g2 CH3OH' or a SMILES; temperature in K, 0 at the minimum."""

    name: str
    split: str
    atoms: Atoms
    source: str
    temperature: float
    seed: list[int]

    @property
    def heavy(self) -> int:
        """Atoms other than hydrogen."""
        return count_heavy(self.atoms)


def make_structures(grown: dict[int, int] = GROWN) -> list[MoleculeStructure]:
    """All geometries in an order of which any beginning is a mixture of sizes and splits; grown = {} needs no RDKit."""
    taken: set[str] = set()
    groups: dict[tuple[str, int], list[MoleculeStructure]] = {}
    for index, (name, atoms) in enumerate(g2_molecules()):
        taken.add(constitution_key(atoms.numbers, bonds_of(atoms)))
        groups.setdefault(("g2", count_heavy(atoms)), []).extend(geometries(f"g2-{name}", f"g2 {name}", atoms, [1, index]))
    broad: list[MoleculeStructure] = []
    total = 0
    for heavy, count in sorted(grown.items()):
        for number, found in enumerate(grow_molecules(heavy, count + BROAD.get(heavy, 0), taken)):
            name = f"s{heavy}-{number:03d}"
            if number >= count:
                broad += geometries(name, found.smiles, found.atoms, [4, number], thermal=[1 + number % 2])
                continue
            groups.setdefault(("smiles", heavy), []).extend(geometries(name, found.smiles, found.atoms, [2, total]))
            total += 1
    deep = mix_groups([_shuffled(group) for _, group in sorted(groups.items())], held_out_first=False)[:DEEP]
    return mix_groups([deep, _shuffled(broad)], held_out_first=False)


def _shuffled(group: list[MoleculeStructure]) -> list[MoleculeStructure]:
    return [group[k] for k in np.random.default_rng(0).permutation(len(group))]


def structures_of_files(paths: Sequence[Path]) -> list[MoleculeStructure]:
    """The geometries of anyone's molecules: .smi files of SMILES, and files that ASE reads, all frames of them.

    Equal constitutions in .smi files are taken once. ValueError for molecules of other elements than H, C, N, O, F.
    """
    taken: set[str] = set()
    molecules: list[tuple[str, Atoms]] = []
    for path in paths:
        if path.suffix == ".smi":
            molecules += [(found.smiles, found.atoms) for found in read_smiles(path.read_text().splitlines(), taken)]
        else:
            molecules += [(f"{path.name} {k}", atoms) for k, atoms in enumerate(read(path, index=":"))]
    for source, atoms in molecules:
        if not set(atoms.numbers.tolist()) <= ELEMENTS:
            raise ValueError(f"{source}: expected a molecule of H, C, N, O, F, found {atoms.get_chemical_formula()}")
    return [item for k, (source, atoms) in enumerate(molecules) for item in geometries(f"m{k:04d}", source, atoms, [3, k])]


def g2_molecules() -> list[tuple[str, Atoms]]:
    """Closed-shell molecules of H, C, N, O, F in ASE's g2 set, small ones first."""
    found = []
    for name in g2.names:
        atoms = molecule(name)
        moments = atoms.get_initial_magnetic_moments()
        if set(atoms.numbers.tolist()) <= ELEMENTS and not moments.any() and atoms.numbers.sum() % 2 == 0:
            found.append((name, atoms))
    return sorted(found, key=lambda entry: (count_heavy(entry[1]), entry[0]))


def geometries(
    name: str, source: str, atoms: Atoms, seed: list[int], thermal: Sequence[int] | None = None
) -> list[MoleculeStructure]:
    """The minimum and thermal geometries of a molecule; seed: [kind, number], whose number decides the split too.

    thermal: numbers of the thermal geometries, of which odd ones are hot; as many as GEOMETRIES asks for if not given.
    """
    heavy = count_heavy(atoms)
    split = "larger" if heavy > LARGEST_TRAINED else split_of(seed[1])
    made = [MoleculeStructure(f"{name}-0", split, atoms, source, 0.0, seed)]
    springs = spring_modes(atoms)
    for k in range(1, GEOMETRIES[min(heavy, max(GEOMETRIES))]) if thermal is None else thermal:
        temperature = TEMPERATURES[k % len(TEMPERATURES)]
        drawn = draw_thermal(atoms, springs, temperature, [*seed, k])
        made.append(MoleculeStructure(f"{name}-{k}", split, drawn, source, temperature, [*seed, k]))
    return made


def count_heavy(atoms: Atoms) -> int:
    """Atoms other than hydrogen."""
    return int(np.count_nonzero(atoms.numbers > 1))
