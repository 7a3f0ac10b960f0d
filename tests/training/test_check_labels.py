"""check_labels.py finds what is wrong by a known amount."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ase_tracegrad.electronic.bands import compute_bands
from ase_tracegrad.io.sample import ReferenceBands
from ase_tracegrad.io.store import StoreWriter


def test_differences_are_found(script, graphene_store, tmp_path, monkeypatch):
    sample = graphene_store["displaced"]
    kpts = np.array([[0, 0, 0], [0.1, 0.2, 0]])
    energies = compute_bands(sample.hamiltonian, sample.overlap, kpts)
    energies[1, 2] += 0.005  # eV, a filled band
    bands = ReferenceBands(kpts, energies, sample.info["fermi_level"])
    with StoreWriter(tmp_path / "labels.h5", exact=True) as store:
        store.add("a", replace(sample, bands=bands))
    out = tmp_path / "out.json"
    monkeypatch.setattr("sys.argv", ["check_labels.py", str(tmp_path / "labels.h5"), "--out", str(out), "--every", "1"])
    script("check_labels").main()
    result = json.loads(out.read_text())
    assert result["largest_band_difference_mev"] == pytest.approx(5, abs=1e-3)
    assert result["largest_overlap_difference"] < 1e-7
