"""The command line, tracegrad: bands, dos, gap, levels, predict and what other files bring (see the list below).

Anything wrong with the input ends in exit code 2 and one line on stderr.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import __version__
from .arguments import (
    CommandError,
    attach,
    check_folder,
    check_grouping,
    check_picture,
    name_structures,
    parse_window,
    read_structure,
)
from .convert_command import convert_files
from .levels_command import show_levels
from .model_commands import models_app
from .replace_file import replace_file, replace_text
from .report_command import report_structure
from .screen_command import screen_app
from .thermal_commands import thermal_app
from .training_commands import evaluate_model_file, train_from_config

if TYPE_CHECKING:
    from .io.sample import Sample

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
app.add_typer(models_app, name="models")
app.add_typer(screen_app, name="screen")
app.add_typer(thermal_app)
OTHERS: dict[str, Any] = {"levels": show_levels, "convert": convert_files, "report": report_structure, "train": train_from_config}
for name, command in (OTHERS | {"evaluate": evaluate_model_file}).items():
    app.command(name)(command)

Structure = Annotated[str, typer.Argument(metavar="STRUCTURE", help="Any file ASE reads; 'file@3' picks a frame.")]
Model = Annotated[str, typer.Option("--model", "-m", help="Name of an embedded model, or path of a checkpoint.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...; default: CUDA if there is one.")]
Dtype = Annotated[str, typer.Option(help="Precision of the network: float32 or float64.")]
Kpts = Annotated[str | None, typer.Option(help="Gamma-centred mesh '12,12,1', or a density in points per 1/Angstrom '5.0'.")]
Width = Annotated[float | None, typer.Option(min=0.0, help="Gaussian sigma in eV; default: linear tetrahedra, a molecule 0.1.")]
Window = Annotated[str, typer.Option(help="Lowest and highest energy in the picture, eV.")]


def main(arguments: list[str] | None = None):
    """Run the command line and leave with its exit code; without arguments it prints its help."""
    arguments = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = _show_warning
        try:
            code = app(args=arguments, prog_name="tracegrad", standalone_mode=False)
        except KeyboardInterrupt:
            sys.exit(130)
        except (ValueError, OSError, MemoryError) as error:
            _complain(str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error))
        except Exception as error:
            # Typer's own complaints about options and arguments, and ASE's; anything else is a bug and shows its traceback.
            if hasattr(error, "format_message"):
                _complain(error.format_message())
            from ase.calculators.calculator import CalculatorError

            if not isinstance(error, CalculatorError):
                raise
            _complain(str(error))
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str):
    print("tracegrad: error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)


def _show_warning(message, *_, **__):
    print("tracegrad: warning: " + " ".join(str(message).split()), file=sys.stderr)


def _show_version(wanted: bool):
    if wanted:
        typer.echo(f"ase_tracegrad {__version__}")
        raise typer.Exit


@app.callback()
def tracegrad(version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True)] = False):
    """Bands, density of states and gaps from predicted Kohn-Sham Hamiltonians."""


@app.command()
def bands(
    structure: Structure,
    model: Model = "graphene-pbe",
    path: Annotated[str | None, typer.Option(help="Special points such as GMKG, or seekpath; default: the lattice's path.")] = None,
    npoints: Annotated[int, typer.Option(min=1, help="About how many k-points on the path.")] = 200,
    kpts: Kpts = None,
    out: Annotated[Path, typer.Option(help="Picture (.png, .pdf, .svg); the numbers go beside it as .json.")] = Path("bands.png"),
    fat: Annotated[str | None, typer.Option(help="Colour by the shares of each: atom, element, shell or orbital.")] = None,
    window: Window = "-10,6",
    device: Device = None,
    dtype: Dtype = "float32",
):
    """Bands along a path: a picture, and a json that `ase band-structure` reads; --fat writes the shares as json too."""
    check_picture(out)
    check_grouping("--fat", fat)
    limits = parse_window(window)
    atoms = attach(structure, model, device, dtype, kpts)
    gap, written = atoms.calc.band_gap(), [out, out.with_suffix(".json")]
    if fat is None:
        result = atoms.calc.band_structure(path, npoints, progress=True)
        axes = _pictures().plot_bands(result, gap=gap, window=limits)
    else:
        result, shares = atoms.calc.fat_bands(path, npoints, by=fat)
        axes = _pictures().plot_fat_bands(result, shares, gap=gap, window=limits)
        written.append(out.with_name(out.stem + "-shares.json"))
        replace_text(written[-1], json.dumps({name: share.tolist() for name, share in shares.items()}))
    _save(axes, out)
    with replace_file(written[1]) as part:
        result.write(part)
    typer.echo(f"Fermi level {result.reference:.4f} eV; {gap}")
    typer.echo(f"wrote {', '.join(str(path) for path in written[:-1])} and {written[-1]}")


@app.command()
def dos(
    structure: Structure,
    model: Model = "graphene-pbe",
    kpts: Kpts = None,
    width: Width = None,
    out: Annotated[Path, typer.Option(help="Picture (.png, .pdf, .svg); the numbers go beside it as .json.")] = Path("dos.png"),
    by: Annotated[str | None, typer.Option(help="Also that of each atom, element, shell or orbital (Mulliken).")] = None,
    window: Window = "-10,6",
    device: Device = None,
    dtype: Dtype = "float32",
):
    """Density of states: a picture, and the numbers as json (eV from the Fermi level; states per eV and cell)."""
    check_picture(out)
    check_grouping("--by", by)
    limits = parse_window(window)
    atoms = attach(structure, model, device, dtype, kpts)
    width = (0.0 if atoms.pbc.any() else 0.1) if width is None else width
    numbers: dict = {}
    if by is None:
        result = atoms.calc.dos(width=width, progress=True)
        axes, facts = _pictures().plot_dos(result, window=limits), result.info
    else:
        parts = atoms.calc.projected_dos(by=by, width=width)
        axes, facts, result = _pictures().plot_projected_dos(parts, window=limits), parts[0].info, parts.sum_all()
        numbers["projections"] = {part.info["label"]: list(part.get_weights()) for part in parts}
    _save(axes, out)
    numbers |= {"energies": list(result.get_energies()), "dos": list(result.get_weights())}
    numbers |= {key: facts[key] for key in ("energy_zero", "fermi_level")}
    replace_text(out.with_suffix(".json"), json.dumps(numbers))
    typer.echo(f"Fermi level {facts['fermi_level']}; wrote {out} and {out.with_suffix('.json')}")


@app.command()
def gap(
    structure: Structure,
    model: Model = "graphene-pbe",
    kpts: Kpts = None,
    out: Annotated[Path | None, typer.Option(help="Also write the numbers as json.")] = None,
    device: Device = None,
    dtype: Dtype = "float32",
):
    """Fermi level and band gap by electron count."""
    if out is not None:
        check_folder(out)
    atoms = attach(structure, model, device, dtype, kpts)
    result = atoms.calc.band_gap(progress=True)
    fermi_level = atoms.calc.get_fermi_level()
    typer.echo(f"Fermi level {fermi_level:.4f} eV; {result}")
    if out is not None:
        numbers = {"fermi_level": fermi_level, "kind": result.kind}
        numbers |= {name: getattr(result, name) for name in ("gap", "direct_gap", "vbm", "cbm")}
        numbers |= {name: list(getattr(result, name)) for name in ("k_vbm", "k_cbm", "k_direct")}
        replace_text(out, json.dumps(numbers))


@app.command()
def symmetry(
    structure: Structure,
    model: Model = "graphene-pbe",
    tolerance: Annotated[float, typer.Option(min=0.0, help="How far atoms may be from their images, Angstrom.")] = 1e-4,
    device: Device = None,
    dtype: Dtype = "float32",
):
    """How far H and S are from the symmetry of the structure."""
    typer.echo(str(attach(structure, model, device, dtype, None).calc.symmetry_report(tolerance=tolerance)))


@app.command()
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


@app.command()
def info(structure: Structure, model: Model = "graphene-pbe", device: Device = None, dtype: Dtype = "float32"):
    """What a model would make of a structure: size, electrons, warnings; and the model card."""
    atoms = read_structure(structure)
    from .nn.domain import UnsupportedStructureError
    from .nn.predictor import load_model
    from .structure import Structure as Checked

    predictor = load_model(model, device=device, dtype=dtype)
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


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for bands.png and dos.png.")] = Path("demo-output"),
    model: Model = "graphene-pbe",
):
    """Graphene from the embedded model beside stored CP2K bands of structures it never saw."""
    check_folder(out)
    from .demo import run_demo

    run_demo(out, model)


# -- output ----------------------------------------------------------------------------------------


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


def _pictures():
    """The plot module, drawing to files: a command line opens no windows."""
    import matplotlib

    matplotlib.use("agg")
    from . import plot

    return plot


def _save(axes, out: Path):
    import matplotlib.pyplot as plt

    axes.figure.savefig(out)
    plt.close(axes.figure)


def _axes(pbc) -> str:
    return " ".join(name for name, periodic in zip("abc", pbc, strict=True) if periodic) or "nothing (a molecule)"
