"""BandGap: the gap by electron count, direct and indirect, with the k-points where it is."""

from dataclasses import dataclass

import numpy as np

from .bloch import check_kpts
from .occupations import check_electrons


@dataclass(frozen=True, eq=False)
class BandGap:
    """gap: lowest empty minus highest filled energy, eV; negative when the bands overlap.

    direct_gap: smallest distance of the two bands at one k; vbm, cbm: band edges, eV; k_vbm, k_cbm,
    k_direct (3,) fractional: where they are; n_filled: filled bands, None when the last filled
    band is only partly filled (then gap = direct_gap = 0, and vbm = cbm is its highest energy);
    tolerance: energies closer than this count as touching, eV.
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

    @property
    def kind(self) -> str:
        """'insulator'; 'semimetal': valence and conduction band touch; 'metal': they overlap, or a band is partly filled."""
        if self.n_filled is None or self.gap < -self.tolerance:
            return "metal"
        return "insulator" if self.gap > self.tolerance else "semimetal"

    @property
    def is_metal(self) -> bool:
        """Whether there is no gap: bands that are partly filled, overlap or touch."""
        return self.kind != "insulator"

    @property
    def is_direct(self) -> bool:
        """Whether the gap is met at one k-point."""
        return self.direct_gap <= self.gap + self.tolerance

    def __str__(self) -> str:
        def at(k):
            return "(" + ", ".join(f"{x:.4g}" for x in k + 0.0) + ")"

        if self.n_filled is None:
            return "metal: a band is partly filled at any position of the Fermi level"
        if self.kind == "semimetal" and self.is_direct:
            return f"semimetal: bands touch at k = {at(self.k_direct)} (direct gap {1000 * self.direct_gap:.2f} meV)"
        if self.gap <= self.tolerance:
            return (
                f"{self.kind}: bands overlap by {-self.gap:.4f} eV, top at k = {at(self.k_vbm)}, bottom at k = {at(self.k_cbm)}; "
                f"smallest direct gap {self.direct_gap:.4f} eV at k = {at(self.k_direct)}"
            )
        if self.is_direct:
            return f"gap {self.gap:.4f} eV, direct at k = {at(self.k_direct)}"
        return (
            f"gap {self.gap:.4f} eV, indirect from k = {at(self.k_vbm)} to k = {at(self.k_cbm)}; "
            f"direct {self.direct_gap:.4f} eV at k = {at(self.k_direct)}"
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
    if abs(filled - n_filled) > 1e-6:
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
