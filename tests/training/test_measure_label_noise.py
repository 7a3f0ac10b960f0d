"""measure_label_noise.py without CP2K: bands that differ by a known amount, at offsets that differ."""

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest

from ase_tracegrad.io.sample import ReferenceBands
from ase_tracegrad.io.store import StoreWriter
from ase_tracegrad.labels.cp2k import Cp2kSettings


def test_spread_and_difference_of_known_bands(script, graphene_store, tmp_path, monkeypatch):
    module, positions, kpts = script("measure_label_noise"), [], np.zeros((1, 3))
    sample, told = graphene_store["displaced"], Cp2kSettings((3, 3, 1), cutoff=200.0)

    def bands(shift: float) -> ReferenceBands:
        energies = np.array([[-3.0, 1.0, 9.0]]) + [shift, 2 * shift, 50 * shift]
        return ReferenceBands(kpts, energies, 0.0)

    def label(atoms, settings, band_kpts):
        positions.append(atoms.positions[0].copy())
        shift = 0.0 if settings.cutoff > 300 else [-0.002, 0.0, 0.002][len(positions) - 1]
        return SimpleNamespace(bands=bands(shift))

    info = {**sample.info, "fermi_level": 0.0, "settings": asdict(told)}
    with StoreWriter(tmp_path / "labels.h5", exact=True) as store:
        store.add("a", replace(sample, bands=bands(-0.003), info=info))
    monkeypatch.setattr(module, "compute_labels", label)
    out = tmp_path / "noise.json"
    out.write_text('{"b": {}}')
    arguments = ["measure_label_noise.py", str(tmp_path / "labels.h5"), "--structure", "a", "--offsets", "3", "--out", str(out)]
    monkeypatch.setattr("sys.argv", arguments)
    module.main()
    assert json.loads(out.read_text()).keys() == {"a", "b"}
    result = json.loads(out.read_text())["a"]
    assert result["grid"]["largest_mev"] == pytest.approx(4)  # the state at 9 eV does not count
    assert result["grid"]["rms_mev"] == pytest.approx(np.sqrt((2**2 + 4**2) / 2))
    assert result["settings"]["largest_mev"] == pytest.approx(6)
    assert len(np.unique(np.round(positions, 3), axis=0)) == 4
