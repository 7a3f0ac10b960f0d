"""The comparison with HPRO at its smallest size: it runs, and both programs give SIESTA's overlap."""

import pytest


def test_smallest_case(load_benchmark, shared_data):
    pytest.importorskip("HPRO", reason="HPRO is not installed")
    row = load_benchmark("overlap_hpro").measure(1, shared_data / "reference" / "siesta" / "Si", repeats=1)
    assert (row["atoms"], row["pairs"]) == (2, 174)
    assert max(row["our_error"], row["hpro_error"], row["largest_difference"]) < 1e-6
