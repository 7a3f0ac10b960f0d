"""ABACUS's .orb files, made up here: Slater orbitals whose norms and overlaps are known."""

import re

import numpy as np
import pytest
from ase import Atoms
from scipy.integrate import quad

from ase_tracegrad.conventions import ABACUS
from ase_tracegrad.harmonics import real_spherical_harmonics
from ase_tracegrad.io import FormatError, read_basis
from ase_tracegrad.io.abacus import read_orb
from ase_tracegrad.overlap import compute_overlap
from ase_tracegrad.units import BOHR

CUTOFF, STEP = 8.0, 0.01  # Bohr


def radial(l: int, zeta: int, r):
    """r^l exp(-(1 + zeta / 2) r^2 / 4), smoothly to zero at the cut-off; r in Bohr, not normalised."""
    return r**l * np.exp(-(1 + zeta / 2) * r**2 / 4) * np.cos(np.pi * r / (2 * CUTOFF)) ** 4


def write_orb(path, counts=(2, 1, 1), element="C"):
    """A .orb file as ABACUS's generator lays it out, four values a line."""
    r = STEP * np.arange(round(CUTOFF / STEP) + 1)
    rule = "-" * 75
    lines = [
        rule,
        f"Element                     {element}",
        "Energy Cutoff(Ry)          100",
        f"Radius Cutoff(a.u.)         {CUTOFF:g}",
    ]
    lines += [f"Lmax                        {len(counts) - 1}"]
    lines += [f"Number of {letter}orbital-->       {count}" for letter, count in zip("SPDF", counts, strict=False)]
    lines += [rule, "SUMMARY  END", "", f"Mesh                        {len(r)}", f"dr                          {STEP}"]
    for l, count in enumerate(counts):
        for zeta in range(count):
            lines += ["                Type                   L                   N", f"{0:20d}{l:20d}{zeta:20d}"]
            words = [f"{value:22.14e}" for value in 3.0 * radial(l, zeta, r)]
            lines += ["".join(words[k : k + 4]) for k in range(0, len(words), 4)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_functions_are_normalised(tmp_path):
    atom = read_orb(write_orb(tmp_path / "C.orb"))
    assert (atom.number, atom.angular_momenta, atom.valence) == (6, (0, 0, 1, 2), None)
    assert atom.reach == pytest.approx(CUTOFF * BOHR)
    r = np.linspace(0.05, 3.5, 30)
    for shell, zeta in zip(atom.shells, (0, 1, 0, 0), strict=True):
        norm = quad(lambda x, s=shell: (x * s.radial(x)) ** 2, 0, CUTOFF * BOHR, epsabs=1e-12, limit=200)[0]
        assert norm == pytest.approx(1, abs=1e-9)
        ratio = shell.radial(r) / radial(shell.l, zeta, r / BOHR)
        assert np.abs(ratio / ratio[0] - 1).max() < 1e-7
        assert ratio[0] > 0


def test_the_overlap_is_the_integral_of_the_product(tmp_path):
    """Against a numerical integral over space (bipolar coordinates are not needed: the functions are smooth and vanish)."""
    basis = read_basis({"C": write_orb(tmp_path / "C.orb", (1, 1))})
    shift = np.array([0.7, -0.4, 1.1])
    overlap = compute_overlap(Atoms("C2", [np.zeros(3), shift]), basis)
    x = np.arange(-5.0, 6.0, 0.16)  # the trapezoidal rule converges faster than any power of its step
    points = np.stack(np.meshgrid(x, x, x, indexing="ij"), axis=-1).reshape(-1, 3)
    points = points[np.linalg.norm(points, axis=1) < CUTOFF * BOHR]

    def orbitals(at):
        d = points - at
        r = np.linalg.norm(d, axis=1)
        return np.hstack([s.radial(r)[:, None] * real_spherical_harmonics(s.l, d) for s in basis[6].shells])

    expected = orbitals(np.zeros(3)).T @ orbitals(shift) * 0.16**3
    assert np.abs(overlap.block(0, 1) - expected).max() < 1e-5
    assert np.abs(overlap.block(0, 0) - np.eye(4)).max() < 1e-9


def test_abacus_order_and_signs_are_of_its_own_harmonics():
    """ABACUS's p orbitals are (z, -x, -y), its d orbitals (z2, -xz, -yz, x2-y2, xy)."""
    v = np.random.default_rng(0).normal(size=(20, 3))
    x, y, z = v.T
    theirs = {1: [z, -x, -y], 2: [(3 * z**2 - (v**2).sum(axis=1)) / np.sqrt(12), -x * z, -y * z, (x**2 - y**2) / 2, x * y]}
    for l, columns in theirs.items():
        index, sign = ABACUS.to_ours([l])
        ratio = sign * np.array(columns)[index].T / (real_spherical_harmonics(l, v) * (v**2).sum(axis=1, keepdims=True) ** (l / 2))
        assert np.abs(ratio / ratio[0, 0] - 1).max() < 1e-12
        assert ratio[0, 0] > 0


DAMAGE = {
    "no line 'Element": lambda t: t.replace("Element", "Atom"),
    "'Xq' is no chemical symbol": lambda t: t.replace("Element                     C", "Element   Xq"),
    "no line 'Mesh": lambda t: t.replace("Mesh", "Grid"),
    "has 600 values, Mesh announces 801": lambda t: "\n".join(t.splitlines()[: 13 + 2 + 150]),
    r"announces the functions .*, the file holds \[\(0, 0\), \(0, 1\)\]": lambda t: "Type".join(t.split("Type")[:3]),
    r"announces the functions \[2147483648, ": lambda t: re.sub(r"(Number of Sorbital-->\s+)\S+", r"\g<1>2147483648", t),
    "could not convert": lambda t: t.replace("e-01", "x-01", 1),
    "a radial grid must": lambda t: re.sub(r"dr .*", "dr 0.0", t),
}


@pytest.mark.parametrize(("message", "damage"), DAMAGE.items(), ids=DAMAGE)
def test_damaged_files_are_named(tmp_path, message, damage):
    path = write_orb(tmp_path / "C.orb")
    path.write_text(damage(path.read_text()))
    with pytest.raises(FormatError, match=f"(?s)C.orb: not a readable .orb file of ABACUS: .*{message}"):
        read_basis({"C": path})


def test_shells_given_must_be_the_files(tmp_path):
    path = write_orb(tmp_path / "C.orb")
    assert read_basis({"C": path}, {"C": "s2p1d1"}).code == "ABACUS"
    with pytest.raises(FormatError, match="the shells s2p2 are asked for, the file holds s2p1d1"):
        read_basis({"C": path}, {"C": "s2p2"})
    with pytest.raises(FormatError, match=r"shells are given for \['N'\], basis files only for \['C'\]"):
        read_basis({"C": path}, {"N": "s1"})
