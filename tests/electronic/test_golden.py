"""Bands against those of DFT codes: each test names the code that printed the reference."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from ase_tracegrad.basis import OrbitalLayout
from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.electronic.bands import compute_bands
from ase_tracegrad.electronic.bloch import BlochSum
from ase_tracegrad.electronic.gap import find_band_gap
from ase_tracegrad.electronic.kmesh import make_mesh
from ase_tracegrad.electronic.occupations import find_fermi_level
from ase_tracegrad.electronic.space_group import find_space_group
from ase_tracegrad.electronic.symmetry import covariance_residuals, find_symmetry, time_reversal_residual
from ase_tracegrad.electronic.velocities import compute_inverse_masses, compute_velocities
from ase_tracegrad.electronic_structure import ElectronicStructure
from ase_tracegrad.io import read
from ase_tracegrad.io.store import StoreReader
from ase_tracegrad.overlap import compute_overlap
from ase_tracegrad.units import BOHR


@pytest.mark.parametrize("name", ["displaced", "perfect", "rotated"])
def test_cp2k_graphene(graphene_store, name):
    sample = graphene_store[name]
    bands = compute_bands(sample.hamiltonian, sample.overlap, sample.bands.kpts)
    difference = np.abs(bands[:, : sample.bands.energies.shape[1]] - sample.bands.energies)
    assert difference[:, :8].max() < 5e-5  # up to the antibonding bands; printed with 8 digits in Hartree
    assert difference.max() < 5e-4


@pytest.fixture(scope="module")
def mos2():
    """Monolayer MoS2 from our label engine (tests/data/make_fixtures.py)."""
    with StoreReader(Path(__file__).parents[1] / "data" / "mos2_cp2k.h5") as store:
        yield store["primitive"]


def test_cp2k_mos2(mos2):
    """CP2K's own bands, with its overlap and with ours; the gap is direct at K."""
    reference = mos2.bands.energies
    ours = compute_overlap(mos2.structure, mos2.basis)
    assert np.abs(ours.restricted_to(mos2.overlap).values - mos2.overlap.values).max() < 1e-7
    for overlap, largest in ((mos2.overlap, 1e-4), (ours, 5e-4)):
        difference = np.abs(compute_bands(mos2.hamiltonian, overlap, mos2.bands.kpts)[:, : reference.shape[1]] - reference)
        assert difference[:, :16].max() < 2e-5
        assert difference.max() < largest
    mesh = make_mesh((6, 6, 1), gamma=True)
    gap = find_band_gap(compute_bands(mos2.hamiltonian, mos2.overlap, mesh.kpts), mesh.kpts, 26)
    assert gap.is_direct
    assert 1.6 < gap.gap < 1.8
    assert np.abs(np.abs(gap.k_direct) - [1 / 3, 1 / 3, 0]).max() < 1e-12


def test_mos2_dos_holds_the_electrons(mos2):
    """The density of states up to the gap integrates to the 26 electrons, 18 of them above Mo's flat 4s and 4p bands."""
    structure = ElectronicStructure(mos2)
    mesh, level = make_mesh((6, 6, 1), gamma=True), structure.find_fermi_level(make_mesh((6, 6, 1), gamma=True))
    assert structure.n_electrons == 26
    for width, depth, n_electrons in ((0.05, 75, 26), (0.0, 20, 18)):
        grid = np.linspace(level - depth, level, 20_001)
        parts, _ = structure.compute_projected_dos(mesh, grid, by="shell", width=width)
        assert np.trapezoid(parts.sum(axis=0), grid) == pytest.approx(n_electrons, abs=2e-2)
    populations = structure.compute_populations(mesh)
    assert populations.electrons.sum() == pytest.approx(26)
    assert populations.charges[1] == pytest.approx(populations.charges[2], abs=1e-3)


def test_cp2k_mos2_has_the_symmetry_of_its_crystal(mos2):
    """Up to CP2K's integration grid; spinless levels at K are single, as p-6m2 leaves them."""
    report = find_symmetry(BlochSum(mos2.hamiltonian, mos2.overlap), mos2.structure, kpts=[[0, 0, 0], [1 / 3, 1 / 3, 0]], below=3.0)
    assert len(report.group) == 12
    assert report.overlap.max() < 1e-7
    assert report.hamiltonian.max() < 0.03
    assert set(report.degeneracies[0]) == {1, 2}
    assert set(report.degeneracies[1]) == {1}
    assert report.splitting.max() < 5e-3


def test_graphene_touches_at_k(graphene_store):
    sample = graphene_store["perfect"]
    mesh = make_mesh((6, 6, 1), gamma=True)
    energies = compute_bands(sample.hamiltonian, sample.overlap, mesh.kpts)
    gap = find_band_gap(energies, mesh.kpts, 8, tolerance=5e-3)  # CP2K's integration grid opens the Dirac point a little
    assert gap.kind == "semimetal"
    assert np.abs(np.abs(gap.k_direct) - [1 / 3, 1 / 3, 0]).max() < 1e-12


def test_openmx_mote2_bands_gap_and_fermi_level(shared_data):
    """DeepH-dock's example: its bands to 1e-6 eV, gap 1.040 eV at K, its Fermi level."""
    folder = shared_data / "reference" / "deeph_new" / "MoTe2_shifted"
    sample = read(folder)
    with h5py.File(folder / "band.h5") as file:
        kpts, expected = file["kpoints_frac_list"][()], file["band_data"][()].T + file["fermi_energy_before_shift_eV"][()]
    bands = compute_bands(sample.hamiltonian, sample.overlap, kpts)
    assert np.abs(bands - expected).max() < 1e-6
    gap = find_band_gap(bands, kpts, 46)
    assert gap.gap == pytest.approx(1.040, abs=5e-4)
    assert gap.is_direct
    assert np.abs(gap.k_direct - [1 / 3, 1 / 3, 0]).max() < 1e-9
    mesh = make_mesh((12, 12, 1), gamma=True)
    level = find_fermi_level(compute_bands(sample.hamiltonian, sample.overlap, mesh.kpts), mesh.weights, 46)
    assert level == pytest.approx(json.loads((folder / "fermi_energy.json").read_text())["fermi_energy_eV"], abs=1e-6)


def test_both_deeph_formats_and_the_shifted_copy_agree(shared_data):
    folders = [shared_data / "reference" / name for name in ("deeph_new/MoTe2", "deeph_legacy/MoTe2", "deeph_new/MoTe2_shifted")]
    kpts = np.array([[0, 0, 0], [1 / 3, 1 / 3, 0], [0.17, 0.29, 0]])
    new, legacy, shifted = (compute_bands(s.hamiltonian, s.overlap, kpts) for s in map(read, folders))
    assert np.abs(new - legacy).max() < 1e-9
    assert np.abs(shifted - 13.088161748833187 - new).max() < 1e-6


@pytest.mark.parametrize("material", ["MG", "MM", "BB", "BT", "BS"])
def test_openmx_bands(shared_data, material):
    """OpenMX's own bands of the primitive cells; BB, BT, BS with spin-orbit coupling."""
    folder = shared_data / "openmx" / material / "prim"
    sample, reference = read(folder), np.load(folder / "bands.npz")
    expected = reference["energies"][::6]
    bands = compute_bands(sample.hamiltonian, sample.overlap, reference["kpts"][::6])[:, : expected.shape[1]]
    assert np.abs(bands - expected)[expected < reference["fermi"]].max() < 1e-6
    assert np.abs(bands - expected).max() < 1e-4


def test_spin_and_orbitals_turn_together(shared_data):
    """Bi2Se3: with the rotation of spin and orbitals H is covariant up to the grid noise; without that of the spin it is not."""
    sample = read(shared_data / "openmx" / "BS" / "prim")
    group = find_space_group(sample.structure, tolerance=1e-3)
    assert len(group) == 12
    assert covariance_residuals(sample.overlap, group).max() < 1e-8
    assert covariance_residuals(sample.hamiltonian, group).max() < 0.03
    assert time_reversal_residual(sample.hamiltonian) < 1e-5


def read_siesta(folder, name):
    """H and S of a SIESTA run through sisl, on orbitals without shells."""
    sisl = pytest.importorskip("sisl", reason="sisl is not installed")
    h = sisl.get_sile(folder / f"{name}.HSX").read_hamiltonian()
    n, cells = h.no, h.geometry.lattice.sc_off
    layout = OrbitalLayout(((0,) * n,))

    def part(index):
        matrix = h.tocsr(index)
        return np.array([matrix[:, c * n : (c + 1) * n].toarray() for c in range(len(cells))])

    def build(matrices, spin):
        return BlockMatrix(layout, np.zeros((len(cells), 2)), cells, np.ravel(matrices), spin)

    overlap = build(part(h.S_idx), "none")
    if h.spin.is_unpolarized:
        return h.geometry, build(part(0), "none"), overlap
    uu, dd, ud, du = part(0) + 1j * part(4), part(1) + 1j * part(5), part(2) + 1j * part(3), part(6) + 1j * part(7)
    return h.geometry, build(np.block([[uu, ud], [du, dd]]), "spinor"), overlap


def read_kpoints(folder, name, geometry):
    """SIESTA's .KP: Cartesian in 1/Bohr, here in fractions."""
    table = np.loadtxt(folder / f"{name}.KP", skiprows=1)
    return table[:, 1:4] / BOHR @ geometry.cell.T / (2 * np.pi)


def read_eigenvalues(folder, name):
    """SIESTA's .EIG, (K, n) relative to its Fermi level, and that level."""
    sisl = pytest.importorskip("sisl", reason="sisl is not installed")
    file = sisl.get_sile(folder / f"{name}.EIG")
    return np.asarray(file.read_data()).squeeze(), file.read_fermi_level()


def test_siesta_silicon(shared_data):
    """H and S as converted by DeepH-dock, eigenvalues as printed by SIESTA."""
    folder = shared_data / "reference" / "siesta"
    sample = read(folder / "Si_deeph_new")
    expected, fermi_level = read_eigenvalues(folder / "Si", "Si")
    kpts = read_kpoints(folder / "Si", "Si", sample.structure)
    assert np.abs(compute_bands(sample.hamiltonian, sample.overlap, kpts) - fermi_level - expected).max() < 2e-3


# The path in Si.fdf: 30 steps along each piece.
SILICON_POINTS = {"L": (0.5, 0.5, 0.5), "Gamma": (0, 0, 0), "X": (0.5, 0, 0.5), "U": (0.625, 0.25, 0.625)}


def test_siesta_silicon_bands(shared_data):
    """SIESTA's own band structure, printed with four digits, through sisl."""
    sisl = pytest.importorskip("sisl", reason="sisl is not installed")
    folder = shared_data / "reference" / "siesta"
    sample = read(folder / "Si_deeph_new")
    (ticks, names), lengths, expected = sisl.get_sile(folder / "Si" / "Si.bands").read_data()
    corners = np.array([SILICON_POINTS[name] for name in names])
    kpts = np.concatenate(
        [corners[:1], *(a + np.linspace(0, 1, 31)[1:, None] * (b - a) for a, b in zip(corners, corners[1:], strict=False))]
    )
    steps = np.diff(kpts @ (2 * np.pi * np.linalg.inv(sample.structure.cell)).T, axis=0)
    walked = np.concatenate([[0], np.linalg.norm(steps, axis=1).cumsum()]) * BOHR
    assert np.abs(walked - lengths).max() < 1e-5
    assert np.abs(walked[::30] - ticks).max() < 1e-5
    bands = compute_bands(sample.hamiltonian, sample.overlap, kpts)
    assert np.abs(bands - sample.info["fermi_level"] - expected[:, 0]).max() < 2e-4


@pytest.mark.parametrize("n", [4, 5, 6])
def test_silicon_gap_is_that_of_the_x_valleys(shared_data, n):
    """The conduction edge lies on the line from Gamma to X, at 0.85 of it, on no mesh; every mesh leads there."""
    sample = read(shared_data / "reference" / "siesta" / "Si_deeph_new")
    sample.info["n_electrons"] = 8.0
    line = np.linspace(0, 0.5, 1001)[:, None] * [1, 0, 1]
    bands = compute_bands(sample.hamiltonian, sample.overlap, line)
    gap = ElectronicStructure(sample).find_band_gap(make_mesh((n, n, n), gamma=True))
    assert gap.vbm == pytest.approx(bands[0, 3], abs=1e-6)
    assert gap.cbm == pytest.approx(bands[:, 4].min(), abs=1e-5)
    assert 0.83 < line[bands[:, 4].argmin(), 0] / 0.5 < 0.87
    assert np.sort(np.abs(gap.k_cbm)) == pytest.approx([0, 0.424, 0.424], abs=2e-3)
    assert gap.gap == pytest.approx(0.5387, abs=1e-4)


def test_silicon_has_its_effective_masses(shared_data):
    """At the conduction edge 0.92 along the line from Gamma and 0.19 across it (measured: 0.9163 and 0.1905,
    Hensel, Hasegawa, Nakayama, Phys. Rev. 138, A225 (1965))."""
    sample = read(shared_data / "reference" / "siesta" / "Si_deeph_new")
    sample.info["n_electrons"] = 8.0
    solved = ElectronicStructure(sample)
    edge = solved.find_band_gap(make_mesh((4, 4, 4), gamma=True)).k_cbm
    _, inverse = compute_inverse_masses(solved.sums(), edge, sample.structure.cell)
    values, axes = np.linalg.eigh(inverse[4])
    assert 1 / values == pytest.approx([0.92, 0.193, 0.193], rel=0.03)
    along = edge @ np.linalg.inv(sample.structure.cell).T
    assert abs(axes[:, 0] @ along) / np.linalg.norm(along) == pytest.approx(1.0, abs=1e-4)
    slopes = compute_velocities(solved.sums(), [edge], sample.structure.cell)[1][0, 4]
    assert np.abs(slopes).max() < 0.1  # eV Angstrom; it is some ten away from an edge


def test_siesta_bismuth_with_spin_orbit_coupling(shared_data):
    folder = shared_data / "reference" / "siesta" / "Bi_hexagonal_soc"
    geometry, h, s = read_siesta(folder, "Bi_hexagonal")
    bands = compute_bands(h, s, read_kpoints(folder, "Bi_hexagonal", geometry))  # sisl reads H relative to the Fermi level
    assert np.abs(bands - read_eigenvalues(folder, "Bi_hexagonal")[0]).max() < 2e-3


def test_kramers_pairs(shared_data):
    """Levels of Bi at time-reversal-invariant k are pairs, as far as SIESTA's single-precision file allows."""
    _, h, s = read_siesta(shared_data / "reference" / "siesta" / "Bi_hexagonal_soc", "Bi_hexagonal")
    bands = compute_bands(h, s, [[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0.5, 0.5, 0.5]])
    assert np.abs(bands[:, ::2] - bands[:, 1::2]).max() < 3e-3
    assert np.abs(bands[:, 1:-1:2] - bands[:, 2::2]).max() > 1
