"""Labels that others computed: a DeepH folder with the basis it lacks, checked against the bands its code printed."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..basis import Basis
from ..electronic.bands import compute_bands
from ..io import read
from ..io.sample import FormatError, ReferenceBands, Sample
from ..overlap import compute_overlap
from ..symbols import symbol_of

BAND_FILES = ("bands.npz", "bands_check.npz")  # kpts (K, 3) fractional, energies (K, n) and fermi in eV, as the code printed them
ABOVE_FERMI = 5.0  # eV; higher states amplify the rounding of H where S is nearly singular
LARGEST_BAND_ERROR = 1e-5  # eV
LARGEST_OVERLAP_ERROR = 1e-5


def read_published(folder, basis: Basis, facts: Mapping | None = None, *, check_bands: bool = False) -> Sample:
    """The label in a DeepH folder (either format), with the basis of its database and the reference bands beside it, if any.

    facts: added to its info; check_bands: FormatError unless H(k), S(k) give the printed bands up to ABOVE_FERMI eV over the
    Fermi level; the largest difference is kept as info['band_check_mev'] where there are such bands.
    """
    folder = Path(folder)
    sample = read(folder)
    check_shells(folder, {number: atom.angular_momenta for number, atom in sample.basis.atoms.items()}, basis)
    sample = replace(sample, basis=basis, bands=_read_bands(folder), info=sample.info | dict(facts or {}))
    if check_bands and sample.bands is not None:
        error = band_difference(sample)
        if error > LARGEST_BAND_ERROR:
            raise FormatError(
                f"{folder}: H(k) and S(k) give bands that differ from the printed ones by {1000 * error:.3g} meV "
                f"(up to {1000 * LARGEST_BAND_ERROR:g} allowed): wrong orbital order or phase, or files of different calculations"
            )
        sample.info["band_check_mev"] = 1000 * error
    return sample


def check_shells(folder: Path, found: Mapping[int, tuple[int, ...]], basis: Basis):
    """FormatError unless the elements of a folder are of the database and have its shells."""
    for number, momenta in found.items():
        if number not in basis.atoms:
            expected = " ".join(symbol_of(z) for z in sorted(basis.atoms))
            raise FormatError(f"{folder}: holds {symbol_of(number)}, the database is of {expected}: is this the right folder?")
        if momenta != basis[number].angular_momenta:
            raise FormatError(
                f"{folder}: {symbol_of(number)} has shells l = {list(momenta)}, the database {list(basis[number].angular_momenta)}"
            )


def band_difference(sample: Sample) -> float:
    """Largest |difference| in eV between the bands of H(R), S(R) and the printed ones, up to ABOVE_FERMI eV over E_F."""
    if sample.bands is None:
        raise ValueError("this sample has no reference bands")
    energies = compute_bands(sample.hamiltonian, sample.overlap, sample.bands.kpts)
    if energies.shape != sample.bands.energies.shape:
        raise FormatError(f"the printed bands have shape {sample.bands.energies.shape}, H(k) gives {energies.shape}")
    counted = sample.bands.energies < sample.bands.fermi_level + ABOVE_FERMI
    return float(np.abs(energies - sample.bands.energies)[counted].max())


def check_overlap(sample: Sample) -> float:
    """Largest |element| of S(R) from the radial functions minus the stored S(R); ValueError above LARGEST_OVERLAP_ERROR."""
    ours = compute_overlap(sample.structure, sample.basis)
    difference = ours - sample.overlap
    error = float(np.abs(difference.values).max())
    if error > LARGEST_OVERLAP_ERROR:
        raise ValueError(
            f"S from the radial functions differs from the stored S by up to {error:.1e}: these are not the orbitals the labels "
            "were computed with (other cut-off, other version of the data base, or other shells)"
        )
    return error


def _read_bands(folder: Path) -> ReferenceBands | None:
    for name in BAND_FILES:
        path = folder / name
        if path.is_file():
            try:
                with np.load(path, allow_pickle=False) as file:
                    return ReferenceBands(file["kpts"], file["energies"], float(file["fermi"]))
            except (KeyError, ValueError, OSError) as error:
                raise FormatError(f"{path}: expected arrays kpts, energies and fermi: {error}") from error
    return None
