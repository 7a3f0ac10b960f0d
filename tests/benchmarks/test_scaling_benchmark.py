"""The scaling benchmark at its smallest size, end to end, and its fit."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "scaling.py"


@pytest.fixture
def scaling(load_benchmark):
    return load_benchmark("scaling")


def test_the_smallest_size(tmp_path):
    command = [sys.executable, str(SCRIPT), "--cells", "2", "--states", "4", "--out", str(tmp_path / "s.json")]
    subprocess.run(command, check=True, capture_output=True, cwd=SCRIPT.parents[1])
    found = json.loads((tmp_path / "s.json").read_text())
    (row,) = found["cases"]
    assert (row["atoms"], row["orbitals"], row["states"]) == (8, 104, 4)
    assert row["residual_ev"] < 1e-7
    assert row["cpu_s"] > 0
    assert row["peak_mib"] >= row["matrices_mib"] > 10
    assert found["time_exponent"] is None
    assert len(found["commit"]) == 40
    assert {"machine", "load", "versions"} <= set(found)
    assert (tmp_path / "s.png").stat().st_size > 5000


def test_the_fit(scaling):
    atoms = np.array([8, 128, 512, 1922])
    assert scaling.fit_exponent(atoms, 3e-4 * atoms**1.5) == pytest.approx(1.5)
    assert scaling.fit_exponent(atoms[:2], [1.0, 2.0]) is None


def test_a_size_that_fails_is_a_row(scaling):
    row = scaling.measure_apart(1, 26)
    assert row["atoms"] == 2
    assert "window" in row["error"]
