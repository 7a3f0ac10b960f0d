"""Bands and densities of states as the plain data that report pages draw."""

from collections.abc import Mapping, Sequence

import numpy as np
from ase.spectrum.band_structure import BandStructure
from ase.spectrum.doscollection import GridDOSCollection

from ..electronic.gap import BandGap
from ..plot.labels import find_zero, gather_ticks, join_labels
from ..plot.style import select_groups

SHARE_STEPS = 1000  # shares are whole numbers of a thousandth


def describe_bands(bands: BandStructure, window: Sequence[float], *, gap: BandGap | None = None, shares=None) -> dict:
    """Bands that enter the window (eV from the energy zero), band by band: energies[b][k], shares[group][b][k].

    gap: gives the energy zero and the number of filled bands; shares: {group: (K, n)}, of which the largest are kept and the
    rest is added up. Spin-polarised bands come one after the other.
    """
    zero, zero_name = find_zero(bands, gap)
    energies = np.concatenate(list(bands.energies), axis=1) - zero
    spin, number = (x.ravel() for x in np.indices(bands.energies.shape[::2]))
    shown = (energies.max(axis=0) >= window[0]) & (energies.min(axis=0) <= window[1])
    if not shown.any():
        raise ValueError(f"no bands between {window[0]:g} and {window[1]:g} eV from {name_zero(zero_name)}: take a wider window")
    x = bands.path.get_linear_kpoint_axis()[0]
    ticks = gather_ticks(bands.path)
    return {
        "x": x,
        "breaks": np.nonzero(np.diff(x) < 1e-12)[0] + 1,
        "kpts": bands.path.kpts,
        "ticks": [{"at": at, "label": join_labels(names)} for at, names in ticks.items()],
        "energies": energies.T[shown],
        "numbers": number[shown] + 1,
        "spins": spin[shown] if len(bands.energies) > 1 else None,
        "filled": None if gap is None or gap.n_filled is None else gap.n_filled,
        "zero": zero,
        "zeroName": name_zero(zero_name),
        "fermi": float(bands.reference) - zero,
        "window": list(window),
        "groups": _describe_shares(shares, energies, shown, window),
    }


def describe_dos(parts: GridDOSCollection, shift: float, window: Sequence[float]) -> dict:
    """A projected density of states, its energies moved by ``shift`` eV, from the lowest to the highest energy in ``window``."""
    energies = np.asarray(parts[0].get_energies()) + shift
    weights = np.array([part.get_weights() for part in parts])
    kept = (energies >= window[0]) & (energies <= window[1])
    labels = [part.info["label"] for part in parts]
    groups = select_groups(labels, weights, kept)
    return {
        "energies": energies[kept],
        "total": weights.sum(axis=0)[kept],
        "groups": [{"name": name, "color": color, "weights": weight[kept]} for name, color, weight in groups],
    }


def name_zero(name: str) -> str:
    """The energy zero as plain text: 'E_{VBM}' -> 'VBM', 'E_F' -> 'Fermi level'."""
    return {"E_F": "Fermi level", "E_{VBM}": "VBM", "E_{HOMO}": "HOMO"}.get(name, name)


def _describe_shares(shares: Mapping[str, np.ndarray] | None, energies, shown, window) -> list[dict]:
    if shares is None:
        return []
    values = np.array(list(shares.values()), dtype=float).clip(0)
    inside = (energies >= window[0]) & (energies <= window[1])
    return [
        {"name": name, "color": color, "shares": np.rint(SHARE_STEPS * part.T[shown]).astype(int)}
        for name, color, part in select_groups(list(shares), values, inside)
    ]
