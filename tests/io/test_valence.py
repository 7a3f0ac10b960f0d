import numpy as np
import pytest
from scipy.linalg import eigh

from ase_tracegrad.basis import AtomicBasis, Basis
from ase_tracegrad.io import read, read_basis
from ase_tracegrad.io.valence import VALENCE, set_valence

PAO = {"C": ("C6.0.pao", "s2p2d1"), "S": ("S7.0.pao", "s2p2d1"), "Mo": ("Mo7.0.pao", "s3p2d2"), "Te": ("Te7.0.pao", "s3p2d2")}
PAO |= {"Se": ("Se7.0.pao", "s3p2d2"), "Bi": ("Bi8.0.pao", "s3p2d2")}


def bare(*numbers, valence=None) -> Basis:
    return Basis({z: AtomicBasis(z, (0, 1), (), valence) for z in numbers})


def test_tables_hold_what_pseudopotentials_can():
    for code, table in VALENCE.items():
        assert all(0 < count <= number for number, count in table.items()), code
    assert VALENCE["aims"][83] == 83


def test_tables_and_changes():
    assert set_valence(bare(42, 52), "OpenMX").count_electrons([42, 52, 52]) == 46
    assert set_valence(bare(42), "openmx", {"Mo": 6})[42].valence == 6
    assert set_valence(bare(42, valence=12.0), "openmx")[42].valence == 12  # what a basis file says counts more
    assert set_valence(bare(42)) == bare(42)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vasp",), "no table of valence electrons for 'vasp'; there are openmx"),
        (("openmx",), "the table of openmx has no U: give"),
        (("", {"Xx": 1}), "'Xx' is no chemical symbol"),
        (("", {"U": 93}), r"element 92 has between 1 and Z valence electrons, found 93\.0"),
    ],
)
def test_what_cannot_be_known(arguments, message):
    with pytest.raises(ValueError, match=message):
        set_valence(bare(92), *arguments)


@pytest.mark.parametrize("symbol", PAO)
def test_the_openmx_table_equals_the_basis_files(shared_data, symbol):
    name, shells = PAO[symbol]
    (atom,) = read_basis({symbol: shared_data / "openmx" / "pao" / name}, {symbol: shells}).atoms.values()
    assert VALENCE["openmx"][atom.number] == atom.valence


@pytest.mark.parametrize("material", ["MM", "BS"])
def test_so_many_states_lie_below_the_fermi_level(shared_data, material):
    """The count of an insulator's occupied states, from OpenMX's matrices and its Fermi level."""
    sample = read(shared_data / "openmx" / material / "prim")
    electrons = set_valence(sample.basis, "openmx").count_electrons(sample.structure.numbers)
    k = [[0.17, 0.31, 0]]
    overlap = np.kron(np.eye(sample.hamiltonian.n_spin), sample.overlap.bloch(k)[0])
    energies = eigh(sample.hamiltonian.bloch(k)[0], overlap, eigvals_only=True)
    assert np.count_nonzero(energies < sample.info["fermi_level"]) * (2 / sample.hamiltonian.n_spin) == electrons
