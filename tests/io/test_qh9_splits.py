"""The published splits: sizes of the publication, and members as numpy's and Python's generators give them."""

import numpy as np
import pytest

from ase_tracegrad.io.qh9_splits import (
    assign_published_split,
    split_dynamic_geo,
    split_dynamic_mol,
    split_stable_id,
    split_stable_ood,
)


def sizes(split) -> tuple[int, ...]:
    return tuple(len(split[name]) for name in ("train", "validation", "test"))


def assert_partition(split, n: int):
    assert np.array_equal(np.sort(np.concatenate(list(split.values()))), np.arange(n))


def test_stable_id():
    """The first members were drawn with numpy alone: RandomState(43).permutation(130831), 80 / 10 / 10 per cent."""
    split = split_stable_id(130831)
    assert sizes(split) == (104664, 13083, 13084)
    assert_partition(split, 130831)
    assert split["train"][:5].tolist() == [39707, 90684, 32585, 67801, 53998]
    assert split["validation"][:3].tolist() == [77023, 35551, 84498]
    assert split["test"][-3:].tolist() == [116991, 19776, 14148]


def test_stable_ood():
    split = split_stable_ood([3, 20, 21, 22, 23, 29, 19])
    assert {name: rows.tolist() for name, rows in split.items()} == {"train": [0, 1, 6], "validation": [2, 3], "test": [4, 5]}


def test_dynamic_geo():
    """The seed of a molecule is the number of its last row: 99, 199, ..."""
    split = split_dynamic_geo(299800)
    assert sizes(split) == (239840, 29980, 29980)
    assert_partition(split, 299800)
    assert split["train"][:5].tolist() == [14, 34, 30, 78, 16]
    assert split["validation"][:3].tolist() == [96, 12, 64]
    assert split["test"][:3].tolist() == [99, 52, 69]
    assert split["train"][80:85].tolist() == [151, 187, 130, 125, 149]
    assert sizes(split_dynamic_geo(99900)) == (79920, 9990, 9990)


def test_dynamic_mol():
    """random.seed(43), shuffle of range(2998): the molecules named are the first and last of each part."""
    split = split_dynamic_mol(299800)
    assert sizes(split) == (239800, 29900, 30100)
    assert sizes(split_dynamic_mol(99900)) == (79900, 9900, 10100)
    assert_partition(split, 299800)
    for name, molecules in (("train", (1755, 435, 751)), ("validation", (1000, 614, 1068)), ("test", (777, 2078, 1171, 157))):
        for molecule in molecules:
            assert np.isin(np.arange(100) + 100 * molecule, split[name]).all()
    assert (np.diff(split["train"]) > 0).all()


def test_a_split_needs_its_kind_of_file():
    with pytest.raises(ValueError, match=r"of a stable QH9 database is stable-id or stable-ood, found 'dynamic-geo'"):
        assign_published_split("dynamic-geo", "stable", 10, list)
    with pytest.raises(ValueError, match="100 rows for each molecule, found 250"):
        assign_published_split("dynamic-mol", "dynamic", 250, list)
    assert assign_published_split("stable-id", "stable", 10, list).tolist().count("train") == 8
