"""The picture of H(R) by distance: its numbers against a plain loop, and what is on the axes."""

import matplotlib

matplotlib.use("agg")

import numpy as np
import pytest

from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.plot import measure_couplings, plot_couplings
from ase_tracegrad.structure import Structure


@pytest.fixture
def crystal():
    return Structure([6, 14], [[0.0, 0, 0], [1.1, 1.3, 0.9]], 3.0 * np.eye(3), [True] * 3)


def plain_rms(matrix, structure, low, high) -> float:
    """Of all C s - Si p elements, both ways, between atoms whose distance lies in [low, high)."""
    elements = []
    for (i, j, shift), block in matrix.items():
        distance = np.linalg.norm(structure.positions[j] + np.array(shift) @ structure.cell - structure.positions[i])
        if not low <= distance < high or i == j:
            continue
        # The shells of make_matrix: atom 0 has s p, atom 1 s s d.
        spins = matrix.n_spin
        blocks = block.reshape(spins, block.shape[0] // spins, spins, -1)
        s_p = blocks[:, 2:7, :, 1:4] if i == 1 else blocks[:, 1:4, :, 2:7]
        elements.append(np.abs(s_p).ravel() ** 2)
    return float(np.sqrt(np.mean(np.concatenate(elements)))) if elements else np.nan


@pytest.mark.parametrize("spin", ["none", "spinor"])
def test_rms_of_a_pair_of_shells(make_matrix, crystal, spin):
    matrix = make_matrix(spin=spin, n_pairs=40)
    found = measure_couplings(matrix, crystal, step=1.0)
    assert found.names[:3] == ("C s - C s", "C s - C p", "C s - Si s")
    row = found.rms[found.names.index("C p - Si d")]
    expected = [plain_rms(matrix, crystal, low, low + 1.0) for low in found.edges[:-1]]
    assert np.allclose(row, expected, equal_nan=True)
    assert np.isfinite(row).sum() > 3
    assert np.isnan(found.onsite[found.names.index("C p - Si d")]), "no atom is both"
    onsite = matrix.block(0, 0)
    both = [onsite[a : a + 1, b + 1 : b + 4] for a in range(0, 4 * matrix.n_spin, 4) for b in range(0, 4 * matrix.n_spin, 4)]
    assert found.onsite[1] == pytest.approx(np.sqrt(np.mean(np.abs(both) ** 2)))


def test_difference_from_a_reference(make_matrix, crystal):
    matrix = make_matrix()
    assert np.nanmax(measure_couplings(matrix, crystal, reference=matrix).rms) == 0
    doubled = measure_couplings(2 * matrix, crystal, reference=matrix)
    assert np.allclose(doubled.rms, measure_couplings(matrix, crystal).rms, equal_nan=True)
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_couplings(measure_couplings(matrix, crystal, reference=matrix))


def test_picture(make_matrix, crystal, tmp_path):
    couplings = measure_couplings(make_matrix(), crystal, step=0.5)
    axes = plot_couplings(couplings)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(couplings.names)
    assert axes.get_xlabel() == "distance (Å)"
    assert axes.get_xticklabels()[0].get_text() == "on-\nsite"
    assert axes.figure.axes[1].get_ylabel() == "RMS element (eV)"
    drawn = axes.collections[0].get_array()
    assert drawn.shape == (len(couplings.names), len(couplings.edges))
    axes.figure.savefig(tmp_path / "couplings.png")
    table = couplings.tabulate()
    assert {len(column) for column in table.values()} == {len(couplings.edges)}


def test_an_atom_alone(make_matrix):
    matrix = make_matrix(shells=((0, 1),), n_pairs=0)
    couplings = measure_couplings(matrix, Structure([6], [[0.0, 0, 0]], np.zeros((3, 3)), [False] * 3))
    assert isinstance(matrix, BlockMatrix)
    assert np.isnan(couplings.rms).all()
    assert np.isfinite(couplings.onsite).all()
    plot_couplings(couplings).figure.canvas.draw()
