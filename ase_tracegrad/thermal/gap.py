"""Gap and band edges against temperature: the adiabatic harmonic average over displaced supercells."""

import hashlib
from contextlib import nullcontext

import numpy as np
from tqdm.auto import tqdm

from ..electronic.unfold import map_supercell
from ..lock import lock_output
from ..nn.trust import hash_model
from ..structure import Structure
from ..warn import warn_caller
from .edges import EdgeEnergies, TrackedEdge, find_edges, measure_edges
from .ensemble import draw_displacements
from .harmonic import HarmonicCrystal
from .phonons import load_phonons
from .result import ThermalGap
from .snapshots import SnapshotFolder

# An edge that is spread over more than this is no level any more.
LARGEST_SPREAD = 0.3  # eV


class SpreadEdgeWarning(UserWarning):
    """A band edge of the undisplaced crystal that is hardly found in the displaced supercells."""


def gap_vs_temperature(
    calc, phonons, temperatures, supercell, *, method: str = "monte-carlo", n_pairs: int = 10, seed: int = 0, out=None
) -> ThermalGap:
    """Gap, direct gap and band edges in eV at temperatures in K, with standard errors.

    calc: TraceGradCalculator; its ``kpts`` find the edges of the primitive cell; phonons: Phonopy with force constants, or its
    file; supercell: (3,) or (3, 3) int, in primitive cells; method: 'monte-carlo' or 'special' (draw_displacements); n_pairs
    of displacements u, -u at each temperature; out: a folder; a second run with it computes what is missing.

    E(T) = <E(u)>_T: Born-Oppenheimer bands averaged over quantum harmonic displacements, adiabatic, at the lattice constants of
    the phonons: no thermal expansion, no Froehlich coupling beyond the supercell. Edges are followed at their k-points
    (measure_edges). Raises ValueError for metals, OutputInUseError, and SnapshotError for a folder of other snapshots.
    """
    temperatures = _check_temperatures(temperatures)
    crystal = HarmonicCrystal.from_phonons(load_phonons(phonons), supercell)
    primitive = calc.electronic_structure(crystal.primitive)
    gap = calc.band_gap(atoms=crystal.primitive, progress=False)
    edges = find_edges(primitive.sums(), primitive.sample.structure, gap)
    mapping = map_supercell(Structure.from_atoms(crystal.supercell), primitive.sample.structure)

    def measure(displacements: np.ndarray) -> EdgeEnergies:
        structure = calc.electronic_structure(crystal.displace(displacements))
        return measure_edges(structure.sums(), mapping, edges, gap.n_filled * mapping.n_cells)

    energies, spreads = [], []
    with (
        nullcontext() if out is None else lock_output(out),
        tqdm(total=2 * n_pairs * len(temperatures), desc="snapshots", delay=2, disable=None) as bar,
    ):
        folder = None if out is None else SnapshotFolder(out, {"method": method, "seed": seed, **_identify(calc, crystal, edges)})
        for temperature in temperatures:
            displacements = draw_displacements(crystal, temperature, n_pairs, method=method, seed=seed)
            if folder is not None:
                displacements = folder.keep_displacements(temperature, displacements)
            measured = []
            for number, u in enumerate(displacements):
                found = None if folder is None else folder.read(temperature, number)
                if found is None:
                    found = measure(u)
                    if folder is not None:
                        folder.write(temperature, number, found)
                measured.append(found)
                bar.update()
            energies.append([found.energies for found in measured])
            spreads.append([found.spreads for found in measured])
    result = ThermalGap(
        temperatures,
        tuple(e.name for e in edges),
        np.array([e.energy for e in edges]),
        np.array(energies),
        np.array(spreads),
        method,
    )
    _warn_of_spread_edges(result)
    return result


def _check_temperatures(temperatures) -> np.ndarray:
    found = np.unique(np.atleast_1d(np.asarray(temperatures, dtype=float)))
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all() or found[0] < 0:
        raise ValueError(f"expected temperatures in K, none below zero; found {temperatures}")
    return found


def _identify(calc, crystal: HarmonicCrystal, edges: tuple[TrackedEdge, ...]) -> dict:
    """What the snapshots of a calculation depend on, as plain JSON."""

    def digest(*arrays) -> str:
        # Rounded: the last bits depend on the machine.
        return hashlib.sha256(b"".join((np.round(a, 6) + 0.0).tobytes() for a in arrays)).hexdigest()[:16]

    predictor = calc.predictor
    path = getattr(predictor, "path", None)  # two models may have the same card, as members of an ensemble do
    return {
        "model": predictor.card.name,
        "model_sha256": hash_model(path) if path else hashlib.sha256(str(predictor.card).encode()).hexdigest(),
        **{name: getattr(predictor, name, None) for name in ("dtype", "refine", "n_rotations")},
        "structure": digest(crystal.primitive.cell.array, crystal.primitive.positions, crystal.primitive.numbers),
        "supercell": crystal.matrix.tolist(),
        "frequencies": np.round(np.abs(crystal.frequencies), 3).tolist(),
        "edges": {edge.name: np.round(edge.kpts[0], 4).tolist() for edge in edges},
    }


def _warn_of_spread_edges(result: ThermalGap):
    spreads = result.spreads.mean(axis=1)
    for number, name in enumerate(result.edges):
        worst = int(spreads[:, number].argmax())
        if spreads[worst, number] > LARGEST_SPREAD:
            warn_caller(
                f"at {result.temperatures[worst]:g} K the {name} is spread over {spreads[worst, number]:.2f} eV in the supercells: "
                "its mean energy says little; look at the spectral function",
                SpreadEdgeWarning,
            )
