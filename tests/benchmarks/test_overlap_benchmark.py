"""The overlap benchmark at its smallest size: it runs and both programs agree."""

import runpy
from pathlib import Path

import pytest


def test_smallest_case():
    pytest.importorskip("pyscf")
    names = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "overlap.py"))
    row = names["measure"](1, repeats=1)
    assert row["atoms"] == 2
    assert row["largest_difference"] < 1e-9
    assert row["pyscf_over_ours"] == pytest.approx(row["pyscf_cpu_seconds"] / row["ours_cpu_seconds"])
    assert set(names["describe_machine"]()) == {"commit", "machine", "threads", "versions"}
