"""tracegrad displace, thermal-gap, unfold: what they write, and what they refuse."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, graphene
from ase.calculators.lj import LennardJones
from ase.io import read, write

from ase_tracegrad.thermal.phonons import compute_force_constants, save_phonons, to_atoms
from tests.calculator_cases import write_untrained_model


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_displace_a_metal_by_emt(tracegrad, here):
    write("al.xyz", bulk("Al", a=3.995))
    arguments = ("displace", "al.xyz", "--potential", "emt", "--supercell", "2,2,2", "--pairs", 2, "--temperature", 300)
    code, out, _ = tracegrad(*arguments)
    assert code == 0
    assert "wrote displaced.xyz: 4 supercells of 8 atoms" in out
    frames = read("displaced.xyz", ":")
    still = (frames[0].positions + frames[1].positions) / 2
    assert np.allclose(still, (frames[2].positions + frames[3].positions) / 2, atol=1e-6)
    facts = json.loads(Path("displaced.json").read_text())
    assert facts["supercell"] == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
    assert 0.05 < facts["root_mean_square"]["Al"] < 0.3
    assert tracegrad(*arguments, "--out", "again.xyz")[0] == 0
    assert np.allclose(read("again.xyz", 0).positions, frames[0].positions)


def test_unfold(tracegrad, here, graphene_store):
    write_untrained_model(here / "model.safetensors", graphene_store.basis)
    sheet = graphene(a=2.46, vacuum=5.0)
    sheet.pbc = True
    write("sheet.xyz", sheet)
    cells = [sheet * (2, 1, 1) for _ in range(2)]
    cells[1].rattle(0.02, seed=0)
    write("cells.xyz", cells)
    arguments = ("unfold", "cells.xyz@:", "sheet.xyz", "-m", "model.safetensors", "--path", "GM", "--npoints", 4, "--window=-8,8")
    code, out, _ = tracegrad(*arguments, "--out", "u.png")
    assert code == 0
    assert "A(k, E) of 2 supercell(s)" in out
    assert Path("u.png").stat().st_size > 5000
    with np.load("u.npz") as stored:
        assert stored["values"].shape == (len(stored["kpts"]), len(stored["energies"]))


def test_thermal_gap_of_a_model_that_does_not_know_the_element(tracegrad, here, aluminium, graphene_store):
    write_untrained_model(here / "model.safetensors", graphene_store.basis)
    save_phonons(aluminium, here / "al.yaml")
    code, _, err = tracegrad("thermal-gap", "al.yaml", "--supercell", "1,1,1", "--model", "model.safetensors")
    assert code == 2
    assert "Al" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("displace", "nothing.yaml", "--supercell", "2,2,2"), "no phonopy file"),
        (("displace", "nothing.yaml", "--supercell", "2,2"), "three positive whole numbers"),
        (("displace", "nothing.yaml", "--supercell", "2,2,2", "--out", "x.foo"), "--out x.foo: expected a format of ASE"),
        (("displace", "nothing.yaml", "--supercell", "2,2,2", "--out", "POSCAR"), "holds several structures"),
        (("displace", "nothing.yaml", "--supercell", "2,2,2", "--out", "x.db"), "holds several structures"),
        (("thermal-gap", "x.yaml", "--supercell", "2,2,2", "-m", "graphene-pbe", "--temperatures", "hot"), "--temperatures hot"),
        (("unfold", "x.xyz", "y.xyz", "-m", "graphene-pbe", "--out", "a.txt"), "a picture ends in"),
    ],
)
def test_refusals(tracegrad, here, arguments, message):
    code, _, err = tracegrad(*arguments)
    assert code == 2
    assert message in err


def test_a_structure_in_place_of_phonons_is_refused(tracegrad, here):
    write("al.xyz", bulk("Al", a=3.995))
    code, _, err = tracegrad("displace", "al.xyz", "--supercell", "2,2,2")
    assert code == 2
    assert "al.xyz is no phonopy file" in err
    assert "--potential" in err


def test_unfold_takes_the_primitive_cell_of_a_phonopy_file(tracegrad, here, graphene_store):
    write_untrained_model(here / "model.safetensors", graphene_store.basis)
    sheet = graphene(a=2.46, vacuum=5.0)
    sheet.pbc = True
    phonons = compute_force_constants(sheet, LennardJones(sigma=1.3), (2, 2, 1))
    save_phonons(phonons, here / "sheet.yaml")
    write("cells.xyz", to_atoms(phonons.primitive) * (2, 1, 1))
    arguments = ("unfold", "cells.xyz", "sheet.yaml", "-m", "model.safetensors", "--path", "GM", "--npoints", 4, "--window=-8,8")
    code, out, _ = tracegrad(*arguments)
    assert code == 0
    assert "A(k, E) of 1 supercell(s)" in out
