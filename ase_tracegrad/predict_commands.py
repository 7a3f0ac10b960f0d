"""The commands tracegrad predict | info: H(R) and S(R) of structures in files, and what a model would make of a structure."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .arguments import (
    CommandError,
    CrystalModel,
    Device,
    Dtype,
    Model,
    Structure,
    check_folder,
    choose_model,
    name_structures,
    read_structure,
)

if TYPE_CHECKING:
    from .io.sample import Sample

predict_app = typer.Typer(rich_markup_mode=None)


@predict_app.command()
def predict(
    structures: Annotated[list[str], typer.Argument(metavar="STRUCTURE...", help="Files ASE reads; 'file@:' takes all frames.")],
    model: Model = "graphene-pbe",
    out: Annotated[Path | None, typer.Option(help="Packed file (.tgh, .h5; default prediction.tgh), or folder of DeepH.")] = None,
    form: Annotated[str, typer.Option("--format", help="packed, deeph or deeph-legacy.")] = "packed",
    batch: Annotated[str, typer.Option(help="Structures per forward pass, or auto.")] = "auto",
    device: Device = None,
    dtype: Dtype = "float32",
):
    """Write H(R) in eV and S(R) of one or many structures, as ase_tracegrad.read and DeepH tools read them."""
    if form not in ("packed", "deeph", "deeph-legacy"):
        raise CommandError(f"--format {form}: expected packed, deeph or deeph-legacy")
    out = out or Path("prediction.tgh" if form == "packed" else "prediction")
    if (out.suffix in (".tgh", ".h5")) != (form == "packed"):
        wanted = "a packed file, ending in .tgh or .h5" if form == "packed" else "a folder"
        raise CommandError(f"--format {form} and --out {out} contradict each other: --out must be {wanted}")
    check_folder(out)
    if batch != "auto" and not (batch.isdigit() and int(batch) > 0):
        raise CommandError(f"--batch {batch}: expected 'auto' or a positive number")
    named = name_structures(structures)
    from .calculator import TraceGradCalculator

    calc = TraceGradCalculator(model, device=device, dtype=dtype)
    samples = calc.predict(named.values(), batch=batch if batch == "auto" else int(batch))
    _write_samples(out, form, zip(named, samples, strict=True), calc.predictor.card.name)
    typer.echo(f"wrote {out}: H(R) in eV and S(R) of {len(named)} structure(s)")


@predict_app.command()
def info(structure: Structure, model: CrystalModel = None, device: Device = None, dtype: Dtype = "float32"):
    """What a model would make of a structure: size, electrons, warnings; and the model card."""
    atoms = read_structure(structure)
    from .nn.domain import UnsupportedStructureError
    from .nn.predictor import load_model
    from .structure import Structure as Checked

    predictor = load_model(model or choose_model(atoms), device=device, dtype=dtype)
    typer.echo(f"structure: {atoms.get_chemical_formula()}, {len(atoms)} atoms, periodic along {_axes(atoms.pbc)}")
    try:
        reasons = predictor.check(Checked.from_atoms(atoms))
    except UnsupportedStructureError as error:
        typer.echo(f"training domain: cannot be predicted: {error}")
    else:
        layout = predictor.basis.layout(atoms.numbers)
        typer.echo(f"orbitals: {layout.total}; valence electrons: {predictor.basis.count_electrons(atoms.numbers):g}")
        typer.echo("training domain: " + ("inside" if not reasons else "; ".join(reasons)))
    typer.echo(str(predictor.card))


def _write_samples(out: Path, form: str, samples: Iterable[tuple[str, Sample]], model: str):
    if form == "packed":
        from .io.store import StoreWriter

        with StoreWriter(out, {"model": model}) as store:
            for name, sample in samples:
                store.add(name, sample)
        return
    from .io.convert import FOLDER_WRITERS, put_on_common_pairs

    for name, sample in samples:
        FOLDER_WRITERS[form](out / name, put_on_common_pairs(sample))


def _axes(pbc) -> str:
    return " ".join(name for name, periodic in zip("abc", pbc, strict=True) if periodic) or "nothing (a molecule)"
