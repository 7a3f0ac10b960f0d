"""The overlap benchmark at its smallest size: it runs and both programs agree."""

import pytest


def test_smallest_case(load_benchmark):
    pytest.importorskip("pyscf", reason="PySCF is not installed")
    row = load_benchmark("overlap").measure(1, repeats=1)
    assert row["atoms"] == 2
    assert row["largest_difference"] < 1e-9
