"""How much the H and the bands of a model change when the structure is turned and the answer turned back."""

from collections.abc import Sequence

import numpy as np

from ..io.sample import Sample
from ..nn.predictor import Predictor
from ..nn.rotated import random_rotation
from .metrics import BandReference, hamiltonian_error, pool_errors

N_ROTATIONS = 4


def measure_equivariance(predictor: Predictor, samples: Sequence[Sample], *, n_rotations: int = N_ROTATIONS, seed: int = 0) -> dict:
    """{'rmse', 'max', 'band_rmse', 'band_max', 'rotations', 'structures'}, energies in meV.

    Root mean square and largest change of the elements of H over random orientations of each structure, against H as the
    structure stands; of the bands those up to E_F + 3 eV that evaluate_model compares: without a Fermi level, no bands.
    """
    generator = np.random.default_rng(seed)
    squares, largest, elements, bands = [], 0.0, [], []
    with_bands = all("fermi_level" in sample.info for sample in samples)
    for sample in samples:
        known = [sample.overlap], None if sample.reference is None else [sample.reference]
        (here,) = predictor.predict([sample.structure], *known)
        as_it_stands = Sample(sample.structure, sample.basis, here, sample.overlap, sample.info)
        reference = BandReference(as_it_stands) if with_bands else None
        for _ in range(n_rotations):
            (turned,) = predictor.predict([sample.structure], *known, rotation=random_rotation(generator))
            change = np.abs((turned - here).values)
            squares.append(np.mean(change**2))
            largest = max(largest, float(change.max()))
            elements.append(hamiltonian_error(turned, as_it_stands))
            if reference is not None:
                bands.append(reference.error(turned, elements[-1]))
    if not squares:
        raise ValueError("no structure to measure the equivariance on")
    pooled = pool_errors(elements, bands)
    return {
        "rmse": 1000 * float(np.sqrt(np.mean(squares))),
        "max": 1000 * largest,
        **{key: pooled[key] for key in ("band_rmse", "band_max") if key in pooled},
        "rotations": n_rotations,
        "structures": len(samples),
    }
