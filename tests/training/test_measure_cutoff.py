"""measure_cutoff.py: nothing moves when nothing is cut, and a shift of one block is seen as it is."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ase_tracegrad.electronic.bands import compute_bands
from ase_tracegrad.io.sample import ReferenceBands
from ase_tracegrad.io.store import StoreWriter


def test_cut_bands(script, graphene_store, tmp_path, monkeypatch):
    sample = graphene_store["displaced"]
    kpts = np.array([[0, 0, 0], [0.1, 0.2, 0]])
    energies = compute_bands(sample.hamiltonian, sample.overlap, kpts)
    with StoreWriter(tmp_path / "labels.h5", exact=True) as store:
        for name in ("a", "b", "c"):
            store.add(name, replace(sample, bands=ReferenceBands(kpts, energies, sample.info["fermi_level"])))
    out = tmp_path / "out.json"
    arguments = ["measure_cutoff.py", str(tmp_path / "labels.h5"), "--cutoffs", "6", "40", "--limit", "2", "--out", str(out)]
    monkeypatch.setattr("sys.argv", arguments)
    script("measure_cutoff").main()
    result = json.loads(out.read_text())
    assert result["structures"] == ["a", "b"]
    assert [row["largest_mev"] for row in result["cutoffs"]["40.0"]] == [0, 0]
    distances = sample.hamiltonian.distances(sample.structure.positions, sample.structure.cell)
    near = compute_bands(sample.hamiltonian.cut(distances < 6), sample.overlap, kpts)
    expected = 1000 * np.abs(near - energies)[energies < sample.info["fermi_level"] + 3].max()
    assert expected > 0
    assert result["cutoffs"]["6.0"][0]["largest_mev"] == pytest.approx(expected)
