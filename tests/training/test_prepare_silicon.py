"""The silicon set as a rule; CP2K is not run."""

from collections import Counter

import numpy as np
import pytest


@pytest.fixture
def structures(script):
    return script("silicon_structures").make_structures()


def test_counts_and_splits(structures):
    assert Counter((item.name.split("-")[0], item.split) for item in structures) == {
        ("x1", "train"): 4,
        ("x1", "test"): 3,
        ("2x1x1", "train"): 64,
        ("2x1x1", "validation"): 8,
        ("2x1x1", "test"): 8,
        ("2x2x2", "train"): 20,
        ("2x2x2", "validation"): 2,
        ("2x2x2", "test"): 2,
    }


def test_crystals(structures):
    """Four bonds to each atom, all near 2.37 Angstrom, and an equal density of k-points."""
    for item in structures:
        repeats = [6 // n for n in item.kpoints]
        assert len(item.atoms) == 2 * np.prod(repeats)
        around = item.atoms.repeat([4 // n for n in repeats])  # large enough for the nearest image
        distances = np.sort(around.get_all_distances(mic=True), axis=1)[:, 1:]
        assert distances[:, 0].min() > 1.8
        assert distances[:, 3].max() < 2.9
        assert distances[:, 4].min() > 2.9


def test_corners_of_the_path(script):
    """L, Gamma, X and K of the primitive cell, in Cartesian coordinates."""
    item = script("silicon_structures").make_structures()[0]
    rules = script("label_rules")
    found = rules.FACE_CENTRED @ script("silicon_structures").make_crystal((1, 1, 1)).cell.reciprocal() * 5.47
    expected = [[0.5, 0.5, 0.5], [0, 0, 0], [0, 1, 0], [0.75, 0.75, 0]]
    assert np.allclose(np.sort(np.abs(found), axis=1), np.sort(expected, axis=1))
    assert len(rules.band_path(rules.FACE_CENTRED)) == 3 * rules.GOLDEN_PATH_POINTS + 1
    assert item.split != "train", "what tests comes first"
