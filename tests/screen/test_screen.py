"""screen: rows equal the calculator's answers, nothing is computed twice, nothing fails but its own row."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow.parquet as pq
import pytest
from ase import Atoms
from ase.build import graphene
from ase.calculators.calculator import InputError

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.kpoints import dos_mesh
from ase_tracegrad.lock import OutputInUseError
from ase_tracegrad.screen import RunOptions, ScreenError, ScreenSettings, iterate_rows, read_settings, screen, shards
from ase_tracegrad.screen.chunk import identify
from ase_tracegrad.screen.inputs import Entry
from ase_tracegrad.screen.shards import list_shards
from tests.screen.conftest import MESH


def test_rows_are_what_the_calculator_says(tmp_path, model, sheets, run_here):
    structures = sheets(2)
    run_here(structures, model, ("gap", "bands", "dos", "symmetry"), out=tmp_path / "out", dos_window=(-5, 5), npoints=20)
    energies = np.array(read_settings(tmp_path / "out")["dos_energies"])
    for atoms, row in zip(structures, iterate_rows(tmp_path / "out"), strict=True):
        atoms.calc = TraceGradCalculator(model, kpts=MESH, fermi_kpts=MESH)
        gap, bands = atoms.calc.band_gap(), atoms.calc.band_structure(npoints=20)
        assert row["status"] == "ok"
        assert row["fermi_level"] == pytest.approx(atoms.calc.get_fermi_level(), abs=1e-6)
        assert row["gap"] - row["overlap"] == pytest.approx(gap.gap, abs=1e-6)
        assert (row["kind"], row["direct"]) == (gap.kind, gap.is_direct)
        assert np.allclose(row["bands_kpts"], bands.path.kpts)
        assert row["bands_path"] == bands.path.path
        assert np.allclose(row["bands"], bands.energies[0], atol=1e-4)
        assert np.allclose(row["dos"], atoms.calc.dos(energies, kpts=dos_mesh(atoms)).get_weights(), atol=1e-3)
        report = atoms.calc.symmetry_report(tolerance=1e-3)
        assert row["space_group"] == report.group.name == "p6/mmm"
        assert row["symmetry_error"] == pytest.approx(report.hamiltonian.max(), abs=1e-6)
        assert json.loads(row["info"])["strain"] == atoms.info["strain"]


def test_a_second_run_skips_what_is_done(tmp_path, model, sheets, run_here, monkeypatch):
    first = run_here(sheets(5), model, out=tmp_path / "out")
    assert (first.ok, first.failed, first.known, first.repeated) == (5, 0, 0, 0)
    before = {path: path.stat().st_mtime_ns for path in list_shards(tmp_path / "out")}
    assert len(before) == 3
    second = run_here(sheets(7) + sheets(1, first=6), model, out=tmp_path / "out")
    assert (second.ok, second.known, second.repeated) == (2, 5, 1)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert sorted(row["source"] for row in iterate_rows(tmp_path / "out")) == [f"sheet {n}" for n in range(7)]
    monkeypatch.setattr("ase_tracegrad.screen.driver.compute_chunk", None)  # would be an error if it was called
    assert run_here(sheets(7), model, out=tmp_path / "out").known == 7


def test_the_first_chunks_are_small(tmp_path, model, run_here):
    """So that few structures, too, are shared among the workers; what is killed loses little."""
    refused = [Atoms("B", cell=[3 + 0.01 * number, 3, 10], pbc=True) for number in range(47)]
    assert run_here(refused, model, out=tmp_path / "out", chunk=8).failed == 47
    sizes = [pq.read_metadata(path).num_rows for path in list_shards(tmp_path / "out")]
    assert sizes == [5, 5, 5, 5, 8, 8, 8, 3]


def test_a_structure_that_fails_is_a_row_with_the_reason(tmp_path, model, sheets, run_here):
    boron, collapsed = graphene(vacuum=5.0), graphene(vacuum=5.0)
    boron.numbers[0] = 5
    collapsed.positions[1] = collapsed.positions[0]
    squeezed = graphene(a=1.8, vacuum=5.0)
    done = run_here([*sheets(1), boron, collapsed, squeezed, *sheets(1, first=1)], model, out=tmp_path / "out", chunk=9)
    rows = list(iterate_rows(tmp_path / "out"))
    assert (done.ok, done.failed) == (3, 2)
    assert [row["status"] for row in rows] == ["ok", "error", "error", "ok", "ok"]
    assert "knows C, not B" in rows[1]["error"]
    assert rows[1]["out_of_domain"]
    assert rows[2]["error"]
    assert rows[3]["out_of_domain"]
    assert "shortest in training" in rows[3]["reasons"][0]
    assert not rows[4]["out_of_domain"]
    assert rows[1]["gap"] is None


def test_failed_structures_are_tried_again_on_request(tmp_path, model, sheets, run_here):
    good = sheets(1)[0]
    path = tmp_path / "structure.cif"
    path.write_text("nonsense")
    assert run_here(str(path), model, out=tmp_path / "out").failed == 1
    assert run_here(str(path), model, out=tmp_path / "out").known == 1
    assert run_here(str(path), model, out=tmp_path / "out", retry_failed=True).failed == 1
    assert len(list(iterate_rows(tmp_path / "out"))) == 1  # the last of two attempts
    good.write(path)
    assert run_here(str(path), model, out=tmp_path / "out").ok == 1  # the file has changed


def test_other_settings_are_refused(tmp_path, model, other_model, sheets, run_here):
    run_here(sheets(1), model, out=tmp_path / "out")
    with pytest.raises(ScreenError, match=r"other settings.*kpts was"):
        run_here(sheets(1), model, out=tmp_path / "out", kpts={"size": (5, 5, 1), "gamma": True})
    with pytest.raises(ScreenError, match="models was"):
        run_here(sheets(1), other_model, out=tmp_path / "out")
    assert run_here(sheets(1), model, out=tmp_path / "out", batch=1, device="cpu").known == 1  # means, not ends
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    with pytest.raises(ScreenError, match="not empty"):
        run_here(sheets(1), model, out=tmp_path / "full")


def test_identity_of_a_structure(model, sheets):
    def identity(atoms, **settings):
        return identify(Entry("anywhere", atoms), ScreenSettings(model, **settings).fingerprint)

    atoms = sheets(1)[0]
    moved, zero = atoms.copy(), atoms.copy()
    moved.positions[0, 0] += 1e-12
    zero.positions[zero.positions == 0] = -0.0
    assert identity(zero) == identity(atoms) != identity(moved)
    assert identity(atoms, npoints=61) != identity(atoms) == identity(atoms, batch=3)


def test_ensembles_tell_their_spread(tmp_path, model, other_model, sheets, run_here):
    run_here(sheets(2), [model, other_model], out=tmp_path / "two")
    run_here(sheets(2), [model, model], out=tmp_path / "same")
    for row in iterate_rows(tmp_path / "two"):
        assert row["h_uncertainty"] > 0
        assert row["gap_uncertainty"] > 0
    for row in iterate_rows(tmp_path / "same"):
        assert row["h_uncertainty"] == pytest.approx(0, abs=1e-4)
        assert row["gap_uncertainty"] == pytest.approx(0, abs=1e-6)


def test_two_processes_do_not_share_a_folder(tmp_path, model, sheets, run_here):
    def structures():
        yield from sheets(1)
        with pytest.raises(OutputInUseError, match="another process"):
            run_here(sheets(1), model, out=tmp_path / "out")
        yield from sheets(1, first=1)

    assert run_here(structures(), model, out=tmp_path / "out").ok == 2


def test_a_damaged_shard_is_named(tmp_path, model, sheets, run_here):
    run_here(sheets(4), model, out=tmp_path / "out")
    shard = list_shards(tmp_path / "out")[0]
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(ScreenError, match=f"{shard.name} is damaged.*delete it"):
        run_here(sheets(4), model, out=tmp_path / "out")
    shard.unlink()
    assert run_here(sheets(4), model, out=tmp_path / "out").ok == 2


def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(tmp_path, model, sheets, run_here, monkeypatch):
    def write_shard(*arguments):
        if arguments[1] == 1:
            raise OSError(28, "No space left on device")
        return shards.write_shard(*arguments)

    monkeypatch.setattr("ase_tracegrad.screen.chunk.write_shard", write_shard)
    with pytest.raises(OSError, match="No space left"):
        run_here(sheets(6), model, out=tmp_path / "out")
    monkeypatch.undo()
    done = run_here(sheets(6), model, out=tmp_path / "out")
    assert done.known + done.ok == 6
    assert done.ok >= 2
    assert len(list(iterate_rows(tmp_path / "out"))) == 6


def test_structures_travel_without_their_calculators(tmp_path, model, sheets, run_here):
    (atoms,) = sheets(1)
    atoms.calc, atoms.info["function"] = TraceGradCalculator(model), print
    assert run_here(atoms, model, out=tmp_path / "out").ok == 1


def test_wrong_calls_are_explained(tmp_path, model, sheets):
    for wrong, message in (
        ({"properties": "gap,colour"}, "properties: expected some of gap, bands, dos, symmetry; found 'colour'"),
        ({"executor": "slurm"}, "executor: expected"),
        ({"workers": 0}, "at least one worker"),
        ({"kpts": {"size": (2, 2)}}, "three positive integers"),
        ({"dos_window": (3, 1)}, "dos_window"),
    ):
        with pytest.raises((ValueError, InputError), match=message), ThreadPoolExecutor(1) as pool:
            screen(sheets(1), model, out=tmp_path / "out", run=RunOptions(progress=False), **{"executor": pool} | wrong)
    with pytest.raises(ScreenError, match="at least one structure"):
        RunOptions(chunk=0)
