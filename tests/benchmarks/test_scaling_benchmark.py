"""The scaling benchmark at its smallest size, end to end, and its fit."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ase_tracegrad.electronic.bands import compute_bands

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "scaling.py"


@pytest.fixture(scope="module")
def scaling():
    return runpy.run_path(str(SCRIPT))


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
    assert (tmp_path / "s.png").stat().st_size > 5000


def test_the_fit(scaling):
    atoms = np.array([8, 128, 512, 1922])
    assert scaling["fit_exponent"](atoms, 3e-4 * atoms**1.5) == pytest.approx(1.5)
    assert scaling["fit_exponent"](atoms[:2], [1.0, 2.0]) is None


def test_repeated_cells_hold_the_same_states(scaling):
    h, s, _ = scaling["load"](2)
    primitive = scaling["load"](1)
    folded = [[i / 2, j / 2, 0] for i in range(2) for j in range(2)]
    together = np.sort(compute_bands(*primitive[:2], folded).ravel())
    assert np.abs(together - compute_bands(h, s, [[0, 0, 0]])[0]).max() < 1e-8


def test_a_size_that_fails_is_a_row(scaling):
    row = scaling["measure_apart"](1, 26)
    assert row["atoms"] == 2
    assert "window" in row["error"]
