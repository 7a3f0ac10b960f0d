from dataclasses import replace

import numpy as np
import pytest
from ase.dft.bandgap import bandgap

from ase_tracegrad.basis import OrbitalLayout
from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.electronic.bands import compute_bands
from ase_tracegrad.electronic.bloch import BlochSum
from ase_tracegrad.electronic.eigen import solve_bloch
from ase_tracegrad.electronic.gap import find_band_gap, find_edge_valleys, refine_band_gap
from ase_tracegrad.electronic.kmesh import make_mesh
from ase_tracegrad.electronic.occupations import ElectronCountError
from tests.electronic.lattice_models import graphene_model

KPTS = np.array([[0, 0, 0], [0.25, 0, 0], [0.5, 0, 0.0]])


def test_indirect_gap_and_where_it_is():
    gap = find_band_gap([[-3.0, -1.0, 2.0], [-2.0, -0.4, 1.5], [-2.0, -0.2, 1.9]], KPTS, 4)
    assert (gap.gap, gap.direct_gap, gap.vbm, gap.cbm) == pytest.approx((1.7, 1.9, -0.2, 1.5))
    assert gap.k_vbm[0] == 0.5
    assert gap.k_cbm[0] == 0.25
    assert gap.k_direct[0] == 0.25
    assert gap.kind == "insulator"
    assert not gap.is_direct
    assert not gap.is_metal
    assert "indirect" in str(gap)


def test_overlapping_bands():
    gap = find_band_gap([[-1.0, 0.5], [0.8, 1.0], [-0.5, 1.0]], KPTS, 2)
    assert gap.gap == pytest.approx(-0.3)
    assert gap.direct_gap == pytest.approx(0.2)
    assert gap.kind == "metal"
    assert "overlap by 0.3" in str(gap)


def test_odd_electrons_make_a_metal():
    gap = find_band_gap([[-1.0, 0.5], [0.8, 1.0], [-0.5, 1.0]], KPTS, 3)
    assert gap.is_metal
    assert gap.n_filled is None
    assert gap.gap == 0.0
    assert "partly filled" in str(gap)
    spinor = find_band_gap([[-1.0, 0.5], [0.1, 1.0], [-0.5, 1.0]], KPTS, 1, spin_degeneracy=1)
    assert spinor.gap == pytest.approx(0.4)


def test_graphene_touches_at_k(graphene):
    mesh = make_mesh((6, 6, 1), gamma=True)
    gap = find_band_gap(compute_bands(*graphene, mesh.kpts), mesh.kpts, 2)
    assert gap.kind == "semimetal"
    assert gap.is_metal
    assert abs(gap.gap) < 1e-9
    assert np.abs(np.abs(gap.k_direct) - [1 / 3, 1 / 3, 0]).max() < 1e-12
    assert "touch at k = " in str(gap)


def test_agrees_with_ase_for_an_insulator():
    rng = np.random.default_rng(0)
    energies = np.sort(rng.normal(size=(20, 6)), axis=1) + np.repeat([-3.0, 3.0], 3)
    kpts = rng.uniform(-0.5, 0.5, size=(20, 3))
    gap = find_band_gap(energies, kpts, 6)
    expected, (_, k_vbm, _), (_, k_cbm, _) = bandgap(eigenvalues=energies[None], efermi=0.0, output=None)
    assert gap.gap == pytest.approx(expected)
    assert (gap.k_vbm == kpts[k_vbm]).all()
    assert (gap.k_cbm == kpts[k_cbm]).all()


def test_bad_input_is_refused():
    with pytest.raises(ElectronCountError):
        find_band_gap(np.zeros((3, 2)), KPTS, 0)
    with pytest.raises(ValueError, match="empty band"):
        find_band_gap(np.zeros((3, 2)), KPTS, 4)
    with pytest.raises(ValueError, match="3 k-points"):
        find_band_gap(np.zeros((2, 2)), KPTS, 2)
    with pytest.raises(ValueError, match="not finite"):
        find_band_gap(np.full((3, 2), np.nan), KPTS, 2)


def test_refined_gap_finds_the_dirac_point(graphene):
    mesh = make_mesh((4, 4, 1))  # does not hold K
    coarse = find_band_gap(compute_bands(*graphene, mesh.kpts), mesh.kpts, 2)
    assert coarse.kind == "insulator"
    gap = refine_band_gap(BlochSum(*graphene), coarse, 1 / 4)
    assert gap.kind == "semimetal"
    assert abs(gap.gap) < 1e-4
    assert np.abs(np.abs(gap.k_direct) - [1 / 3, 1 / 3, 0]).max() < 1e-4


@pytest.mark.parametrize("steepness", [1.0, 30.0])
def test_refinement_ends_by_energy_not_by_step(steepness):
    """A Dirac cone however steep is followed until it has closed."""
    h, s = graphene_model(hopping=-2.7 * steepness)
    mesh = make_mesh((4, 4, 1))
    gap = refine_band_gap(BlochSum(h, s), find_band_gap(compute_bands(h, s, mesh.kpts), mesh.kpts, 2), 1 / 4)
    assert 0 <= gap.gap < 3e-4
    assert gap.kind == "semimetal"


@pytest.mark.parametrize("size", [5, 7])
def test_no_gap_is_larger_than_the_direct_one(graphene, size):
    """At the tip of a cone the searches for the two edges and for the direct gap end at different distances from it."""
    mesh = make_mesh((size, size, 1))
    coarse = find_band_gap(compute_bands(*graphene, mesh.kpts), mesh.kpts, 2)
    gap = refine_band_gap(BlochSum(*graphene), coarse, 1 / size)
    assert gap.gap <= gap.direct_gap + 1e-8


def test_repr_and_print():
    gap = find_band_gap([[-3.0, -1.0, 2.0], [-2.0, -0.4, 1.5], [-2.0, -0.2, 1.9]], KPTS + [0, 1.4e-17, -0.0], 4)
    named = gap.with_names({"X": np.random.default_rng(0).normal(size=(48, 3))})
    assert "names" not in repr(named)
    assert len(repr(named)) < 300
    assert "indirect from k = (0.5, 0, 0) to k = (0.25, 0, 0)" in str(gap)


def test_a_molecule_has_levels():
    open_shell = replace(find_band_gap([[-1.0, 0.0, 0.0]], KPTS[:1], 4), periodic=False)
    assert (open_shell.kind, open_shell.is_metal) == ("open shell", True)
    assert "partly filled" in str(open_shell)
    closed = replace(find_band_gap([[-1.0, 0.0, 0.0]], KPTS[:1], 2), periodic=False)
    assert (closed.kind, closed.is_metal) == ("closed shell", False)
    assert str(closed) == "gap 1.0000 eV between the highest filled and the lowest empty level"


def test_refined_gap_of_an_insulator():
    """Two chains, E = -2 cos(2 pi (k - 0.03)) - 3 and 3 + 2 cos(2 pi (k - 0.4)): edges at k = 0.53 and 0.9."""
    layout = OrbitalLayout(((0, 0),))
    hop = np.diag([-np.exp(-2j * np.pi * 0.03), np.exp(-2j * np.pi * 0.4)])
    home = np.diag([-3.0, 3.0]).astype(complex)
    h = BlockMatrix.from_blocks(layout, {(0, 0, (0, 0, 0)): home, (0, 0, (1, 0, 0)): hop, (0, 0, (-1, 0, 0)): hop.conj().T})
    mesh = make_mesh((8, 1, 1), time_reversal=False)
    coarse = find_band_gap(compute_bands(h, None, mesh.kpts), mesh.kpts, 2)
    gap = refine_band_gap(BlochSum(h, None), coarse, (1 / 8, 0, 0), accuracy=1e-11)
    assert (gap.vbm, gap.cbm, gap.gap) == pytest.approx((-1.0, 1.0, 2.0), abs=1e-9)
    assert gap.k_vbm[0] % 1 == pytest.approx(0.53, abs=1e-5)
    assert gap.k_cbm[0] % 1 == pytest.approx(0.9, abs=1e-5)
    assert gap.direct_gap < coarse.direct_gap
    assert not gap.is_direct


def test_the_valley_that_is_second_on_the_mesh_may_be_the_lower_one():
    """Chain with E = -3 - cos(2 pi k) and E = 3 - cos(4 pi (k - 2/7)) + 0.1 cos(2 pi (k - 2/7)): bottoms near 2/7, which is
    on a mesh of 7, and at 2/7 + 1/2, which is not and is lower."""
    layout = OrbitalLayout(((0, 0),))
    first, second = 0.05 * np.exp(-4j * np.pi / 7), -0.5 * np.exp(-8j * np.pi / 7)
    hops = {1: np.diag([-0.5, first]), 2: np.diag([0, second])}
    blocks = {(0, 0, (0, 0, 0)): np.diag([-3.0, 3.0]).astype(complex)}
    for r, hop in hops.items():
        blocks |= {(0, 0, (r, 0, 0)): hop, (0, 0, (-r, 0, 0)): hop.conj().T}
    sums = BlochSum(BlockMatrix.from_blocks(layout, blocks))
    mesh = make_mesh((7, 1, 1), gamma=True, time_reversal=False)
    energies = solve_bloch(sums, mesh.kpts).energies
    coarse = find_band_gap(energies, mesh.kpts, 2)
    assert coarse.k_cbm[0] == pytest.approx(2 / 7)
    gap = refine_band_gap(
        sums, coarse, (1 / 7, 0, 0), starts=find_edge_valleys(mesh, energies, 1, np.array([[1, 0, 0]])), accuracy=1e-9
    )
    assert gap.cbm == pytest.approx(1.9, abs=1e-8)
    assert gap.k_cbm[0] % 1 == pytest.approx(2 / 7 + 1 / 2, abs=1e-4)
    assert gap.vbm == pytest.approx(-2.0, abs=1e-8)
    dense = solve_bloch(sums, np.linspace(0, 1, 4001)[:, None] * [1, 0, 0]).energies
    assert gap.direct_gap == pytest.approx((dense[:, 1] - dense[:, 0]).min(), abs=1e-5)
    assert refine_band_gap(sums, coarse, (1 / 7, 0, 0), accuracy=1e-9).cbm == pytest.approx(2.1, abs=1e-2), "one valley alone"


def test_refinement_leaves_metals_alone_and_refuses_bad_steps(graphene):
    metal = find_band_gap([[-1.0, 0.5], [0.8, 1.0], [-0.5, 1.0]], KPTS, 3)
    assert refine_band_gap(BlochSum(*graphene), metal, 0.1) is metal
    gap = find_band_gap([[-1.0, 0.5], [0.3, 1.0], [-0.5, 1.0]], KPTS, 2)
    assert refine_band_gap(BlochSum(*graphene), gap, (0, 0, 0.1)) is gap  # nothing depends on k there
    with pytest.raises(ValueError, match="steps"):
        refine_band_gap(BlochSum(*graphene), gap, -0.1)


def test_a_band_that_holds_almost_nothing_is_partly_filled():
    gap = find_band_gap([[0.0, 1.0]], [[0, 0, 0]], 1e-7)
    assert gap.n_filled is None
    assert gap.vbm == 0.0


def test_of_k_and_minus_k_one_is_solved(monkeypatch):
    """Edges at Gamma, E = +-(3 - cos(2 pi k_1) - cos(2 pi k_2)), where every trial has its opposite, by half of the solves."""
    hops = {(0, 0, shift): np.diag([0.5, -0.5]) for shift in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0))}
    h = BlockMatrix.from_blocks(OrbitalLayout(((0, 0),)), {(0, 0, (0, 0, 0)): np.diag([-3.0, 3.0])} | hops)
    mesh = make_mesh((4, 4, 1), gamma=True)
    asked: list[int] = []
    monkeypatch.setattr("ase_tracegrad.electronic.gap.solve_bloch", lambda sums, k: asked.append(len(k)) or solve_bloch(sums, k))
    found = []
    for sums in (BlochSum(h), BlochSum(replace(h, values=h.values.astype(complex)))):
        asked.clear()
        gap = refine_band_gap(sums, find_band_gap(solve_bloch(sums, mesh.kpts).energies, mesh.kpts, 2), 1 / 4)
        assert (gap.gap, gap.direct_gap) == pytest.approx((2.0, 2.0), abs=1e-9)
        assert np.abs(gap.k_direct).max() < 1e-9
        found.append(sum(asked))
    assert found[0] < 0.6 * found[1]
