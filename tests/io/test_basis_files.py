"""Basis files of OpenMX and SIESTA: real ones from the shared data, damaged ones made up here."""

import re

import numpy as np
import pytest
from scipy.linalg import eigh

from ase_tracegrad.io import FormatError, read, read_basis
from ase_tracegrad.io.openmx import OPENMX_BOHR, interpolate, read_pao
from ase_tracegrad.io.siesta import read_ion
from ase_tracegrad.overlap import compute_overlap
from ase_tracegrad.units import BOHR


def write_pao(path, cutoff=4.0):
    """A made-up .pao file: two s and one p function on a logarithmic grid that passes the cut-off."""
    x = np.linspace(-7, 1.6, 150)
    r = np.exp(x)
    envelope = np.where(r < cutoff, (1 - (r / cutoff) ** 2) ** 2, 0)
    columns = {0: [np.exp(-r) * envelope, 0.5 * (1 - r) * np.exp(-r) * envelope], 1: [r * np.exp(-r) * envelope]}
    lines = ["AtomSpecies  6", "total.electron  6.0", "valence.electron   4.0   # a comment", f"radial.cutoff.pao  {cutoff}"]
    for l, functions in columns.items():
        rows = [" ".join(f"{value:.15e}" for value in row) for row in np.column_stack([x, r, *functions])]
        lines += [f"<pseudo.atomic.orbitals.L={l}", *rows, f"pseudo.atomic.orbitals.L={l}>"]
    path.write_text("\n".join(lines) + "\n")
    return r, columns


def write_ion(path, form: str):
    """A made-up .ion or .ion.xml file with an s and a d orbital, both normalised."""
    r = np.linspace(0, 5, 300)
    orbitals = []
    for l in (0, 2):
        divided = np.exp(-0.6 * r) * (1 - (r / 5) ** 2) ** 2
        divided /= np.sqrt(np.sum(r**2 * (r**l * divided) ** 2) * (r[1] - r[0]))
        orbitals.append((l, "\n".join(f"{a:.16e} {b:.16e}" for a, b in zip(r, divided, strict=True))))
    if form == "xml":
        body = "".join(
            f'<orbital\n l=" {l}"\n n="3" >\n<radfunc>\n<data>\n{rows}\n</data>\n</radfunc>\n</orbital>\n' for l, rows in orbitals
        )
        text = f'<ion version="0.1">\n<z> 14 </z>\n<valence> 4.0 </valence>\n<paos>\n{body}</paos>\n</ion>\n'
    else:
        body = "".join(f" {l} 3 1 0 0.0 # l\n 300 0.01 5.0 # npts\n{rows}\n" for l, rows in orbitals)
        head = "Si # Symbol\nSi # Label\n 14 # Z\n 4.0 # Valence\n 28.0\n 14.2\n 2 2 # Lmax, orbitals\n 0 0\n"
        text = f"<preamble>\nsomething\n</preamble>\n{head}# PAOs:____\n{body}# KBs:____\n"
    path.write_text(text)


def test_pao_orbitals_keep_values_norms_and_cutoff(tmp_path):
    radii, columns = write_pao(tmp_path / "C4.0.pao")
    atom = read_pao(tmp_path / "C4.0.pao", "s2p1")
    assert (atom.number, atom.angular_momenta, atom.valence) == (6, (0, 0, 1), 4.0)
    assert atom.reach == pytest.approx(4.0 * OPENMX_BOHR)
    for shell, column in zip(atom.shells, [*columns[0], *columns[1]], strict=True):
        inside = (radii > 0.1) & (radii < 4.2)
        expected = column[inside] / OPENMX_BOHR**1.5
        assert np.abs(shell.radial(radii[inside] * OPENMX_BOHR) - expected).max() < 1e-5
    overlap = compute_overlap(one_atom(6), read_basis({"C": tmp_path / "C4.0.pao"}, {"C": "s2p1"}))
    assert abs(overlap.block(0, 0)[0, 0] - 1) > 0.1  # the made-up functions are far from normalised


def one_atom(number: int):
    from ase import Atoms

    return Atoms(numbers=[number])


def test_openmx_interpolation_is_exact_for_parabolas_and_local():
    r = np.geomspace(0.1, 5, 20)
    fine = np.linspace(0.1, 5, 300)
    assert np.abs(interpolate(r, 1 + r - 0.3 * r**2, fine) - (1 + fine - 0.3 * fine**2))[fine > r[1]][:200].max() < 1e-12
    bump = np.zeros(20)
    bump[10] = 1.0
    values = interpolate(r, bump, fine)
    assert np.array_equal(values[(fine < r[8]) | (fine > r[12])], np.zeros(np.count_nonzero((fine < r[8]) | (fine > r[12]))))
    assert interpolate(r, bump, np.array([0.01]))[0] == bump[0]


@pytest.mark.parametrize("form", ["text", "xml"])
def test_ion_orbitals(tmp_path, form):
    write_ion(tmp_path / "Si.ion", form)
    atom = read_ion(tmp_path / "Si.ion")
    assert (atom.number, atom.angular_momenta, atom.valence) == (14, (0, 2), 4.0)
    assert atom.reach == pytest.approx(5.0 * BOHR)
    s, d = (shell.radial for shell in atom.shells)
    x = np.array([0.5, 1.5])
    assert d(x) / s(x) == pytest.approx((x / BOHR) ** 2 * d(1.0) / s(1.0) * BOHR**2, rel=1e-6)


def replace_word(text: str, after: str, column: int, word: str) -> str:
    """The text with one word of the line behind ``after`` replaced; columns are counted from 1."""
    start = text.index("\n", text.index(after)) + 1
    end = text.index("\n", start)
    words = text[start:end].split()
    words[column - 1] = word
    return text[:start] + " ".join(words) + text[end:]


DAMAGE = {
    "no AtomSpecies": ("pao", lambda t: t.replace("AtomSpecies", "Species")),
    "no radial.cutoff.pao": ("pao", lambda t: t.replace("radial.cutoff.pao", "cutoff")),
    "holds no p orbitals": ("pao", lambda t: t[: t.index("<pseudo.atomic.orbitals.L=1")]),
    "p orbitals are damaged": ("pao", lambda t: t.replace("orbitals.L=1\n", "orbitals.L=1\n 1 2 x\n")),
    "some numbers are not finite": ("pao", lambda t: replace_word(t, "<pseudo.atomic.orbitals.L=1", 3, "nan")),
    "with growing r": ("pao", lambda t: replace_word(t, "<pseudo.atomic.orbitals.L=1", 2, "nan")),
    "radial.cutoff.pao is 1000000000000.0 Bohr, the grid of the s orbitals ends": (
        "pao",
        lambda t: t.replace("pao  4.0", "pao  1e12"),
    ),
    "radial.cutoff.pao is 1000000000000.0 Bohr, the grid of the s orbitals ends at 100": (
        "pao",
        lambda t: t.replace("pao  4.0", "pao  1e12").replace(
            "pseudo.atomic.orbitals.L=0>", " 30 1e13 0 0\npseudo.atomic.orbitals.L=0>"
        ),
    ),
    "too large for an orbital": ("pao", lambda t: replace_word(t, "<pseudo.atomic.orbitals.L=1", 3, "1e308")),
    "not a readable .ion.*StopIteration": ("text", lambda t: t.replace("# PAOs", "# PAO")),
    "a document type, which SIESTA does not write": (
        "xml",
        lambda t: t.replace("<ion", '<ion version="1"/><!DOCTYPE a [<!ENTITY b "c">]><ion', 1),
    ),
    "radial.cutoff.pao is -1.0 Bohr": ("pao", lambda t: t.replace("pao  4.0", "pao  -1")),
    "the grid of the p orbitals ends at 0.001": (
        "pao",
        lambda t: re.sub(r"(orbitals.L=1\n(?:.*\n){2})(?:.*\n)*(pseudo)", r"\1\2", t),
    ),
    "invalid literal for int": ("pao", lambda t: t.replace("AtomSpecies  6", "AtomSpecies  6.5")),
    "no element of atomic number 999": ("pao", lambda t: t.replace("AtomSpecies  6", "AtomSpecies  999")),
    "no element of atomic number -14": ("text", lambda t: t.replace(" 14 # Z", " -14 # Z")),
    "between 1 and Z valence electrons, found -3.0": ("pao", lambda t: t.replace("electron   4.0", "electron  -3")),
    "between 1 and Z valence electrons, found nan": ("text", lambda t: t.replace("4.0 # Valence", "nan # Valence")),
    "found '%!PS'": ("pao", lambda t: "%!PS"),
    "not a readable .ion.*IndexError": ("text", lambda t: "\n".join(t.splitlines()[:200])),
    "not a readable .ion.*ValueError": ("text", lambda t: t.replace(" 300 0.01", " three")),
    "not a readable .ion.*ParseError": ("xml", lambda t: t[:2000]),
    "not a readable .ion.*AttributeError": ("xml", lambda t: t.replace("paos", "orbitals")),
}


@pytest.mark.parametrize(("message", "damage"), DAMAGE.items(), ids=DAMAGE)
def test_damaged_files_are_named(tmp_path, message, damage):
    form, change = damage
    path = tmp_path / "basis"
    write_pao(path) if form == "pao" else write_ion(path, form)
    path.write_text(change(path.read_text()))
    with pytest.raises(FormatError, match=f"(?s)basis: .*{message}"):
        read_basis({"C": path}, {"C": "s2p1"})


@pytest.mark.parametrize("form", ["pao", "text"])
def test_comments_in_another_encoding_do_no_harm(tmp_path, form):
    """The data base is older than UTF-8."""
    path = tmp_path / "basis"
    write_pao(path) if form == "pao" else write_ion(path, form)
    path.write_bytes(path.read_bytes().replace(b"a comment" if form == "pao" else b"something", b"d\xe9form\xe9"))
    assert b"\xe9" in path.read_bytes()
    assert read_basis({"C": path}, {"C": "s2p1"})[6].size == 5 if form == "pao" else read_ion(path).size == 6


def test_requests_that_cannot_be_met(tmp_path):
    write_pao(tmp_path / "C.pao")
    write_ion(tmp_path / "Si.ion", "text")
    for shells in (None, {"C": "2s1p"}, {"C": "s2x1"}, {"C": ""}):
        with pytest.raises(FormatError, match="such as shells='s3p2d2'"):
            read_basis({"C": tmp_path / "C.pao"}, shells)
    with pytest.raises(FormatError, match="3 s orbitals are asked for, the file holds 2"):
        read_basis({"C": tmp_path / "C.pao"}, {"C": "s3"})
    with pytest.raises(FormatError, match="named as the basis of N, but holds element 6"):
        read_basis({"N": tmp_path / "C.pao"}, {"N": "s1"})
    with pytest.raises(FormatError, match=r"these files to \['OpenMX', 'SIESTA'\]"):
        read_basis({"C": tmp_path / "C.pao", "Si": tmp_path / "Si.ion"}, {"C": "s1"})
    with pytest.raises(FileNotFoundError, match="no basis file for H"):
        read_basis({"H": tmp_path / "H.pao"})


def largest_errors(found, reference) -> tuple[float, float]:
    """On-site and off-site errors on the union of the pairs."""
    onsite, offsite = 0.0, 0.0
    for (i, j, r), block in (found - reference).items():
        error = float(np.abs(block).max())
        if (i, r) == (j, (0, 0, 0)):
            onsite = max(onsite, error)
        else:
            offsite = max(offsite, error)
    return onsite, offsite


OPENMX_FILES = {"C": ("C6.0.pao", "s2p2d1"), "S": ("S7.0.pao", "s2p2d1"), "Mo": ("Mo7.0.pao", "s3p2d2")}
OPENMX_FILES |= {symbol: (f"{symbol}{reach}.pao", "s3p2d2") for symbol, reach in (("Te", "7.0"), ("Se", "7.0"), ("Bi", "8.0"))}


@pytest.mark.parametrize(
    ("folder", "elements"),
    [
        ("reference/deeph_legacy/MoTe2", ("Mo", "Te")),
        ("openmx/MG/prim", ("C",)),
        ("openmx/BS/prim", ("Bi", "Se")),
    ],
)
def test_openmx_overlaps_from_the_pao_files_alone(shared_data, folder, elements):
    pao = shared_data / "openmx" / "pao"
    basis = read_basis({e: pao / OPENMX_FILES[e][0] for e in elements}, {e: OPENMX_FILES[e][1] for e in elements})
    sample = read(shared_data / folder)
    found = compute_overlap(sample.structure, basis)
    assert found.index.keys() == sample.overlap.index.keys()
    onsite, offsite = largest_errors(found, sample.overlap)
    assert onsite < 1e-6
    assert offsite < 1e-6
    if "MoTe2" in folder:
        assert basis.count_electrons(sample.structure.numbers) == 46
        kpts = np.array([[0, 0, 0], [1 / 3, 1 / 3, 0], [0.5, 0, 0], [0.21, 0.13, 0]])
        hamiltonians = sample.hamiltonian.bloch(kpts)
        ours, theirs = (
            np.array([eigh(h, s, eigvals_only=True)[:30] for h, s in zip(hamiltonians, overlap.bloch(kpts), strict=True)])
            for overlap in (found, sample.overlap)
        )
        assert np.abs(ours - theirs).max() < 0.1e-3
        assert ours[1, 23] - ours[1, 22] == pytest.approx(1.040, abs=1e-3)


def test_siesta_overlap_from_the_ion_file_alone(shared_data):
    """SIESTA lists pairs within the projectors' reach too; S vanishes there."""
    folder = shared_data / "reference" / "siesta"
    basis = read_basis({"Si": folder / "Si" / "Si.ion"})
    sample = read(folder / "Si_deeph_new")
    found = compute_overlap(sample.structure, basis)
    assert set(found.index) <= set(sample.overlap.index)
    onsite, offsite = largest_errors(found, sample.overlap)
    assert onsite < 1e-6
    assert offsite < 1e-6


def test_both_files_of_siesta_hold_the_same_orbitals(shared_data):
    text, xml = (read_ion(shared_data / "reference" / "siesta" / "Si" / name) for name in ("Si.ion", "Si.ion.xml"))
    assert (text.angular_momenta, text.valence) == (xml.angular_momenta, xml.valence) == ((0, 0, 1, 1, 2), 4.0)
    r = np.linspace(0, 3.6, 100)
    for a, b in zip(text.shells, xml.shells, strict=True):
        assert np.abs(a.radial(r) - b.radial(r)).max() < 1e-9
