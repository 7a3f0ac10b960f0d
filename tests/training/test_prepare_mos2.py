"""The MoS2 set as a rule and its basis; CP2K's data file is read, CP2K itself is not run."""

from collections import Counter

import numpy as np
import pytest

from ase_tracegrad.io.cp2k import read_atomic_basis
from ase_tracegrad.labels.cp2k import Cp2kNotFoundError, find_cp2k


@pytest.fixture
def structures(script):
    return script("mos2_structures").make_structures()


def test_counts_and_splits(structures):
    assert Counter((item.name.split("-")[0], item.split) for item in structures) == {
        ("x1", "train"): 4,
        ("x1", "test"): 3,
        ("vacuum", "train"): 2,
        ("vacuum", "test"): 1,
        ("x2", "train"): 48,
        ("x2", "validation"): 6,
        ("x2", "test"): 6,
        ("x3", "train"): 16,
        ("x3", "validation"): 2,
        ("x3", "test"): 2,
    }


def test_layers(structures):
    """Whole layers of MoS2 around z = 0, no two atoms nearer than a strained and displaced bond, equal k density."""
    for item in structures:
        assert item.atoms.get_chemical_formula(mode="reduce").count("Mo")
        n = 1 if item.name.startswith("vacuum") else int(item.name[1])
        assert len(item.atoms) == 3 * n * n
        assert item.kpoints == (6 // n, 6 // n, 1)
        assert item.atoms.positions[:, 2].mean() == pytest.approx(0, abs=0.2)
        distances = item.atoms.get_all_distances(mic=True)
        assert distances[np.triu_indices(len(item.atoms), 1)].min() > 2.0


def test_compact_basis(script, tmp_path):
    try:
        find_cp2k()
    except Cp2kNotFoundError as error:
        pytest.skip(str(error))
    path = tmp_path / "BASIS"
    path.write_text(script("prepare_mos2").compact_basis())
    molybdenum = read_atomic_basis(path, "Mo", "DZVP-MOLOPT-SR-GTH-COMPACT-q14")
    sulfur = read_atomic_basis(path, "S", "DZVP-MOLOPT-SR-GTH-q6")
    stock = read_atomic_basis(find_cp2k()[1] / "BASIS_MOLOPT", "Mo", "DZVP-MOLOPT-SR-GTH-q14")
    assert sorted(shell.l for shell in molybdenum.shells) == [0, 0, 0, 1, 1, 2, 2]
    assert sorted(shell.l for shell in sulfur.shells) == [0, 0, 1, 1, 2]
    assert max(shell.reach for shell in molybdenum.shells) < 0.8 * max(shell.reach for shell in stock.shells)
