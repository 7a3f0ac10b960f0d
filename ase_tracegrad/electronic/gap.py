"""BandGap: the gap by electron count, direct and indirect, with the k-points where it is."""

from dataclasses import dataclass, field, replace

import numpy as np

from .bloch import BlochSum, check_kpts
from .eigen import solve_bloch
from .extrema import FINEST_STEP, find_minima, find_valleys
from .kmesh import KMesh, describe_kpt, name_kpt
from .occupations import check_electrons

# Finer than the steps of the search for band edges.
FOLDED_DIGITS = 11
SAME_EDGE = 1e-9  # eV; edges nearer than this differ by rounding


@dataclass(frozen=True, eq=False)
class BandGap:
    """gap: lowest empty minus highest filled energy, eV; negative when the bands overlap.

    direct_gap: smallest distance of the two bands at one k; vbm, cbm: band edges, eV; k_vbm, k_cbm,
    k_direct (3,) fractional: where they are; n_filled: filled bands, None when the last filled
    band is only partly filled (then gap = direct_gap = 0, and vbm = cbm is its highest energy);
    tolerance: energies closer than this count as touching, eV; names: {name: (P, 3)} k-points with a name, for print;
    periodic: False for a molecule, which has levels instead of bands.
    """

    gap: float
    direct_gap: float
    vbm: float
    cbm: float
    k_vbm: np.ndarray
    k_cbm: np.ndarray
    k_direct: np.ndarray
    n_filled: int | None
    tolerance: float
    names: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    periodic: bool = True

    @property
    def kind(self) -> str:
        """'insulator'; 'semimetal': valence and conduction band touch; 'metal': they overlap, or a band is partly filled.

        For a molecule 'closed shell', or 'open shell' where the highest level with electrons is partly filled.
        """
        if not self.periodic:
            return "closed shell" if self.n_filled is not None and self.gap > self.tolerance else "open shell"
        if self.n_filled is None or self.gap < -self.tolerance:
            return "metal"
        return "insulator" if self.gap > self.tolerance else "semimetal"

    @property
    def is_metal(self) -> bool:
        """Whether there is no gap: bands or levels that are partly filled, overlap or touch."""
        return self.kind not in ("insulator", "closed shell")

    @property
    def is_direct(self) -> bool:
        """Whether the gap is met at one k-point."""
        return self.direct_gap <= self.gap + self.tolerance

    def with_names(self, names: dict[str, np.ndarray]) -> "BandGap":
        """The same gap, printed with the names {name: (P, 3) equivalent k-points} of k-points."""
        return replace(self, names=names)

    def name_kpt(self, kpt: np.ndarray) -> str | None:
        """The name of the k-point, up to a reciprocal vector, if it has one."""
        return name_kpt(kpt, self.names)

    def __str__(self) -> str:
        def at(k):
            return describe_kpt(k, self.names)

        if not self.periodic:
            empty = "open shell: the highest level with electrons is partly filled"
            return empty if self.is_metal else f"gap {self.gap:.4f} eV between the highest filled and the lowest empty level"
        if self.n_filled is None:
            return "metal: a band is partly filled at any position of the Fermi level"
        if self.kind == "semimetal" and self.is_direct:
            return f"semimetal: bands touch at {at(self.k_direct)} (direct gap {1000 * self.direct_gap:.2f} meV)"
        if self.gap <= self.tolerance:
            return (
                f"{self.kind}: bands overlap by {-self.gap:.4f} eV, top at {at(self.k_vbm)}, bottom at {at(self.k_cbm)}; "
                f"smallest direct gap {self.direct_gap:.4f} eV at {at(self.k_direct)}"
            )
        if self.is_direct:
            return f"gap {self.gap:.4f} eV, direct at {at(self.k_direct)}"
        return (
            f"gap {self.gap:.4f} eV, indirect from {at(self.k_vbm)} to {at(self.k_cbm)}; "
            f"direct {self.direct_gap:.4f} eV at {at(self.k_direct)}"
        )


def find_band_gap(energies, kpts, n_electrons: float, *, spin_degeneracy: int = 2, tolerance: float = 1e-3) -> BandGap:
    """The gap between band n_electrons / spin_degeneracy and the next, on the given k-points.

    energies (K, n) eV sorted at each k; kpts (K, 3). No Fermi level enters, so noise cannot turn an
    insulator into a metal. Extrema between the k-points are not seen: give a mesh or path that
    holds them (graphene touches at K only), or refine with refine_band_gap.
    Raises ElectronCountError for a count the bands cannot hold, ValueError when no empty band is given.
    """
    energies, kpts = np.asarray(energies, dtype=float), check_kpts(kpts)
    if energies.ndim != 2 or len(energies) != len(kpts):
        raise ValueError(f"expected energies (K, n) for {len(kpts)} k-points, found shape {energies.shape}")
    if not np.isfinite(energies).all():
        raise ValueError("some energies are not finite")
    check_electrons(n_electrons, energies.shape[1], spin_degeneracy)
    filled = n_electrons / spin_degeneracy
    n_filled = round(filled)
    if n_filled == 0 or abs(filled - n_filled) > 1e-6:
        partly = energies[:, int(filled)]
        k = kpts[partly.argmax()]
        return BandGap(0.0, 0.0, partly.max(), partly.max(), k, k, k, None, tolerance)
    if n_filled == energies.shape[1]:
        raise ValueError(f"all {n_filled} bands are filled: a gap needs at least one empty band")
    valence, conduction = energies[:, n_filled - 1], energies[:, n_filled]
    top, bottom, direct = int(valence.argmax()), int(conduction.argmin()), int((conduction - valence).argmin())
    return BandGap(
        gap=float(conduction[bottom] - valence[top]),
        direct_gap=float(conduction[direct] - valence[direct]),
        vbm=float(valence[top]),
        cbm=float(conduction[bottom]),
        k_vbm=kpts[top],
        k_cbm=kpts[bottom],
        k_direct=kpts[direct],
        n_filled=n_filled,
        tolerance=tolerance,
    )


def find_edge_valleys(mesh: KMesh, energies: np.ndarray, n_filled: int, neighbours: np.ndarray) -> tuple[np.ndarray, ...]:
    """k-points (S, 3) from which the top of the valence band, the bottom of the conduction band and the direct gap may be
    reached; energies (K, n) eV at the points of a regular mesh, which may be reduced; neighbours: extrema.find_neighbours."""
    full = mesh.unfold(_edge_values(energies, n_filled))
    return tuple(mesh.full_kpts[find_valleys(full[..., edge], mesh.full_to_irreducible, neighbours)] for edge in range(3))


def refine_band_gap(sums: BlochSum, gap: BandGap, step, *, starts=((), (), ()), accuracy: float | None = None) -> BandGap:
    """Follow the band edges of ``gap`` off the k-points it was found on, to the extrema next to them.

    step: distance of those k-points in fractions of the reciprocal vectors, along all of them or (3,), or steps (D, 3) to
    the neighbours in D directions, better where the cell is skew; starts: more k-points
    (S, 3) from which each edge is searched, as find_edge_valleys gives them, since the valley that is best on a mesh need
    not be best; accuracy: the search (extrema.find_minima) ends where no step changes an edge by more, eV, by default a
    tenth of the gap's tolerance. sums: as the bands of ``gap`` were solved with.
    """
    if gap.n_filled is None:
        return gap
    n_filled, accuracy = gap.n_filled, gap.tolerance / 10 if accuracy is None else accuracy
    steps = np.asarray(step, dtype=float)
    if not np.isfinite(steps).all() or (steps.ndim < 2 and (steps < 0).any()) or not accuracy > 0:
        raise ValueError(f"expected finite steps that are not negative and a positive accuracy, found {step} and {accuracy}")
    if steps.ndim < 2:
        steps = np.diag(np.broadcast_to(steps, 3) * (sums.hamiltonian.shifts != 0).any(axis=0))
    steps = steps[np.abs(steps).max(axis=1) > FINEST_STEP]
    if not len(steps):
        return gap
    own = (gap.k_vbm, gap.k_cbm, gap.k_direct)
    together = [np.vstack([k, *np.reshape(more, (-1, 3))]) for k, more in zip(own, starts, strict=True)]
    centers, _ = find_minima(lambda kpts: _solve_edges(sums, kpts, n_filled), together, steps, accuracy)
    # Where one search ended may be better for another edge too: at a cone, where they end at different distances from the tip,
    # the gap would else be larger than the direct one.
    edges = _solve_edges(sums, centers, n_filled)
    best = np.where(edges.diagonal() <= edges.min(axis=0) + SAME_EDGE, np.arange(3), edges.argmin(axis=0))
    found = edges[best, np.arange(3)]
    return replace(
        gap,
        gap=float(found[0] + found[1]),
        direct_gap=float(found[2]),
        vbm=float(-found[0]),
        cbm=float(found[1]),
        k_vbm=centers[best[0]],
        k_cbm=centers[best[1]],
        k_direct=centers[best[2]],
    )


def _solve_edges(sums: BlochSum, kpts: np.ndarray, n_filled: int) -> np.ndarray:
    """_edge_values at kpts (K, 3); where E(-k) = E(k), only one of k, -k and their equivalents is solved."""
    if not sums.is_real:
        return _edge_values(solve_bloch(sums, kpts).energies, n_filled)
    both = np.round(np.round([kpts, -kpts], FOLDED_DIGITS) % 1.0, FOLDED_DIGITS)
    _, number = np.unique(both.reshape(-1, 3), axis=0, return_inverse=True)
    _, first, of = np.unique(number.reshape(2, -1).min(axis=0), return_index=True, return_inverse=True)
    return _edge_values(solve_bloch(sums, kpts[first]).energies, n_filled)[of]


def _edge_values(energies: np.ndarray, n_filled: int) -> np.ndarray:
    """(K, 3): what is smallest at the top of the valence band, the bottom of the conduction band and the direct gap."""
    valence, conduction = energies[:, n_filled - 1], energies[:, n_filled]
    return np.stack([-valence, conduction, conduction - valence], axis=1)
