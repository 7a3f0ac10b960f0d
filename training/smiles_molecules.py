"""Molecules from SMILES by RDKit: substituents on cores, by a rule, and their geometry at the minimum of MMFF94."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from molecule_geometries import constitution_key

CORES = """
C N O CC C=C C#C C=O C=N C#N CCC C=CC CC#C C1CC1 CC=O CC#N COC CNC C1CO1 C1CN1 NC=O OC=O C=C=C C=C=O
C1CCC1 C1COC1 C1CNC1 C=CC=C CC(=O)C CC(=O)N CC(=O)O C1=CCC1 COC=O C#CC=C OCCO NCC=O
C1CCCC1 C1CCOC1 C1CCNC1 c1cc[nH]c1 c1ccoc1 c1c[nH]cn1 c1cocn1 c1cn[nH]c1 C1CC=CC1 O=C1CCC1 O=C1CCO1 NCC(=O)O
c1ccccc1 c1ccncc1 c1cnccn1 c1cncnc1 C1CCCCC1 C1CCOCC1 C1CNCCN1 C1COCCO1 O=C1CCCC1 O=C1CCCN1 O=CC=CC=O
O=C1CCCCC1 C1CC2CCC1C2 O=c1cc[nH]cc1 C1CC2CC2C1 O=c1cc[nH]c(=O)[nH]1 c1ccc2[nH]ccc2c1 c1ccc2occc2c1 c1ncc2nc[nH]c2n1
""".split()
SUBSTITUENTS = "C C C O N F C#N C=O OC C=C C#C".split()
TRIES = 150  # for each molecule wanted


@dataclass(frozen=True)
class SmilesMolecule:
    """atoms: at the minimum of MMFF94; key: of its constitution."""

    smiles: str
    atoms: Atoms
    key: str


def grow_molecules(heavy: int, count: int, taken: set[str]) -> list[SmilesMolecule]:
    """``count`` molecules of so many heavy atoms, or as many as there are, none with a constitution in ``taken``, which grows.

    Which ones depends on the rule and its seed, not on RDKit's canonical order. ImportError without RDKit.
    """
    chem = import_rdkit()
    rng = np.random.default_rng([43, heavy])
    found: list[SmilesMolecule] = []
    seen: set[str] = set()
    for _ in range(TRIES * count):
        if len(found) == count:
            break
        molecule = _grow(chem, heavy, rng)
        smiles = "" if molecule is None else chem.MolToSmiles(molecule)
        if smiles and smiles not in seen:
            seen.add(smiles)
            made = make_molecule(smiles, taken)
            if made is not None:
                found.append(made)
    return found


def import_rdkit():
    """rdkit.Chem, or an ImportError that says how to install it."""
    try:
        from rdkit import Chem, RDLogger
    except ImportError as error:
        raise ImportError("molecules from SMILES need RDKit: pip install 'ase_tracegrad[molecules]'") from error
    RDLogger.DisableLog("rdApp.*")  # refused valences are part of the search
    return Chem


def _grow(chem, heavy: int, rng: np.random.Generator):
    """A core with substituents at random places, or None where the rules of chemistry refuse one."""
    core = chem.MolFromSmiles(CORES[rng.integers(len(CORES))])
    while core.GetNumAtoms() < heavy:
        fragment = chem.MolFromSmiles(SUBSTITUENTS[rng.integers(len(SUBSTITUENTS))])
        place = int(rng.integers(core.GetNumAtoms()))
        if not _accepts(core.GetAtomWithIdx(place), fragment.GetAtomWithIdx(0)):
            return None
        joined = chem.RWMol(chem.CombineMols(core, fragment))
        joined.AddBond(place, core.GetNumAtoms(), chem.BondType.SINGLE)
        if chem.SanitizeMol(joined, catchErrors=True) != chem.SanitizeFlags.SANITIZE_NONE:
            return None
        core = joined.GetMol()
    return core if core.GetNumAtoms() == heavy else None


def _accepts(atom, substituent) -> bool:
    """Whether a bond between these gives a molecule that one could keep in a bottle: no acetals, enols, peroxides, N-F."""
    if atom.GetTotalNumHs() == 0 or (atom.GetIsAromatic() and atom.GetAtomicNum() == 7):
        return False
    unsaturated_substituent = any(bond.GetBondTypeAsDouble() > 1 for bond in substituent.GetBonds())
    if substituent.GetAtomicNum() == 6:
        carbonyl = any(neighbour.GetAtomicNum() == 8 for neighbour in substituent.GetNeighbors())
        return atom.GetAtomicNum() != 9 and not (atom.GetAtomicNum() == 8 and unsaturated_substituent and not carbonyl)
    if atom.GetAtomicNum() != 6:
        return False
    neighbours = [neighbour.GetAtomicNum() for neighbour in atom.GetNeighbors()]
    if not atom.GetIsAromatic() and any(z in (7, 8) or (z == 9) != (substituent.GetAtomicNum() == 9) for z in neighbours if z != 6):
        return False
    unsaturated = any(bond.GetBondTypeAsDouble() in (2.0, 3.0) for bond in atom.GetBonds())
    return substituent.GetAtomicNum() == 9 or not unsaturated


def make_molecule(smiles: str, taken: set[str]) -> SmilesMolecule | None:
    """The molecule at a minimum of MMFF94; None if its constitution is taken, or the force field or the embedding fails.

    ValueError for a text that is no SMILES, has other elements than H, C, N, O, F, unpaired electrons, a charge, or two molecules.
    """
    chem = import_rdkit()
    from rdkit.Chem import AllChem

    parsed = chem.MolFromSmiles(smiles)
    if parsed is None:
        raise ValueError(f"{smiles!r} is no SMILES that RDKit understands")
    molecule = chem.AddHs(parsed)
    numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
    if not set(numbers) <= {1, 6, 7, 8, 9} or len(chem.GetMolFrags(molecule)) > 1:
        raise ValueError(f"{smiles!r}: expected one molecule of H, C, N, O, F")
    if chem.GetFormalCharge(molecule) or any(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms()):
        raise ValueError(f"{smiles!r}: expected a neutral molecule without unpaired electrons")
    key = constitution_key(numbers, chem.GetAdjacencyMatrix(molecule).astype(bool))
    if key in taken or not AllChem.MMFFHasAllMoleculeParams(molecule):
        return None
    parameters = AllChem.ETKDGv3()
    parameters.randomSeed = 43
    if AllChem.EmbedMolecule(molecule, parameters) != 0 or AllChem.MMFFOptimizeMolecule(molecule, maxIters=5000) != 0:
        return None
    taken.add(key)
    return SmilesMolecule(smiles, Atoms(numbers, molecule.GetConformer().GetPositions()), key)


def read_smiles(lines: Iterable[str], taken: set[str]) -> list[SmilesMolecule]:
    """Molecules of a .smi file: one SMILES a line, whatever follows on the line is its name; # begins a comment."""
    made = [make_molecule(line.split()[0], taken) for line in lines if line.split() and not line.startswith("#")]
    return [molecule for molecule in made if molecule is not None]
