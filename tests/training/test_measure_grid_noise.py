"""measure_grid_noise.py without CP2K: bands that differ by a known amount, at offsets that differ."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from ase_tracegrad.io.sample import ReferenceBands


def test_spread_of_known_bands(script, tmp_path, monkeypatch):
    module, positions = script("measure_grid_noise"), []

    def label(atoms, settings, band_kpts):
        tight = settings.cutoff > 300
        positions.append(atoms.positions[0])
        shift = 0.0 if tight else [-0.002, 0.0, 0.002][len(positions) - 1]
        energies = np.tile([-3.0, 1.0, 9.0], (len(band_kpts), 1)) + [shift, 2 * shift, 50 * shift]
        return SimpleNamespace(bands=ReferenceBands(band_kpts, energies, 0.0))

    monkeypatch.setattr(module, "compute_labels", label)
    monkeypatch.setattr("sys.argv", ["measure_grid_noise.py", "silicon", "--offsets", "3", "--out", str(tmp_path / "noise.json")])
    module.main()
    result = json.loads((tmp_path / "noise.json").read_text())
    for kind in ("grid", "settings"):  # the state at 9 eV does not count
        assert result[kind]["rms_mev"] == pytest.approx(np.sqrt((2**2 + 4**2) / 2))
        assert result[kind]["largest_mev"] == pytest.approx(4)
    assert len(np.unique(np.round(positions, 3), axis=0)) == 4
