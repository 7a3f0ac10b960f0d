"""The command line: tracegrad bands | dos | gap | predict | info | models.

Anything wrong with the input ends in exit code 2 and one line on stderr.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Bands, density of states and gaps from predicted Kohn-Sham Hamiltonians.",
)
models_app = typer.Typer(help="The models that come with the package.", invoke_without_command=True, rich_markup_mode=None)
app.add_typer(models_app, name="models")

PICTURES = (".png", ".pdf", ".svg")

Structure = Annotated[str, typer.Argument(metavar="STRUCTURE", help="Any file ASE reads; 'file@3' picks a frame.")]
Model = Annotated[str, typer.Option("--model", "-m", help="Name of an embedded model, or path of a checkpoint.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...; default: CUDA if there is one.")]
Dtype = Annotated[str, typer.Option(help="Precision of the network: float32 or float64.")]
Kpts = Annotated[str | None, typer.Option(help="Mesh '12,12,1', or a density in points per 1/Angstrom '5.0'.")]
Window = Annotated[str, typer.Option(help="Lowest and highest energy in the picture, eV.")]


class CommandError(ValueError):
    """A command that cannot be carried out; the message is all the user sees."""


def main(arguments: list[str] | None = None):
    """Run the command line and leave with its exit code."""
    from ase.calculators.calculator import CalculatorError

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = _show_warning
        try:
            code = app(args=arguments, prog_name="tracegrad", standalone_mode=False)
        except KeyboardInterrupt:
            sys.exit(130)
        except (ValueError, OSError, MemoryError, CalculatorError) as error:
            _complain(str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error))
        except Exception as error:
            # Typer's own complaints about options and arguments; anything else is a bug and shows its traceback.
            if not hasattr(error, "format_message"):
                raise
            _complain(error.format_message())
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str):
    print("tracegrad: error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)


def _show_warning(message, *_, **__):
    print("tracegrad: warning: " + " ".join(str(message).split()), file=sys.stderr)


@app.command()
def bands(
    structure: Structure,
    model: Model = "graphene-pbe",
    path: Annotated[str | None, typer.Option(help="Special points such as GMKG; default: the lattice's standard path.")] = None,
    npoints: Annotated[int, typer.Option(min=1, help="About how many k-points on the path.")] = 200,
    kpts: Kpts = None,
    out: Annotated[Path, typer.Option(help="Picture (.png, .pdf, .svg); the numbers go beside it as .json.")] = Path("bands.png"),
    window: Window = "-10,6",
    device: Device = None,
    dtype: Dtype = "float32",
):
    """Bands along a path: a picture, and a json that `ase band-structure` reads."""
    _check_picture(out)
    limits = _parse_window(window)
    atoms = _attach(structure, model, device, dtype, kpts)
    result = atoms.calc.band_structure(path, npoints, progress=True)
    gap = atoms.calc.band_gap()
    _save(_pictures().plot_bands(result, gap=gap, window=limits), out)
    result.write(out.with_suffix(".json"))
    typer.echo(f"Fermi level {result.reference:.4f} eV; {gap}")
    typer.echo(f"wrote {out} and {out.with_suffix('.json')}")


@app.command()
def dos(
    structure: Structure,
    model: Model = "graphene-pbe",
    kpts: Kpts = None,
    width: Annotated[float, typer.Option(min=0.0, help="Gaussian sigma in eV; 0: linear tetrahedra.")] = 0.1,
    out: Annotated[Path, typer.Option(help="Picture (.png, .pdf, .svg); the numbers go beside it as .json.")] = Path("dos.png"),
    window: Window = "-10,6",
    device: Device = None,
    dtype: Dtype = "float32",
):
    """Density of states: a picture, and the numbers as json (eV from the Fermi level; states per eV and cell)."""
    _check_picture(out)
    limits = _parse_window(window)
    atoms = _attach(structure, model, device, dtype, kpts)
    result = atoms.calc.dos(width=width, progress=True)
    _save(_pictures().plot_dos(result, window=limits), out)
    numbers = {"energies": list(result.get_energies()), "dos": list(result.get_weights()), **result.info}
    out.with_suffix(".json").write_text(json.dumps(numbers))
    typer.echo(f"Fermi level {result.info['fermi_level']}; wrote {out} and {out.with_suffix('.json')}")


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
        _check_folder(out)
    atoms = _attach(structure, model, device, dtype, kpts)
    result = atoms.calc.band_gap(progress=True)
    fermi_level = atoms.calc.get_fermi_level()
    typer.echo(f"Fermi level {fermi_level:.4f} eV; {result}")
    if out is not None:
        numbers = {"fermi_level": fermi_level, "kind": result.kind}
        numbers |= {name: getattr(result, name) for name in ("gap", "direct_gap", "vbm", "cbm")}
        numbers |= {name: list(getattr(result, name)) for name in ("k_vbm", "k_cbm", "k_direct")}
        out.write_text(json.dumps(numbers))


@app.command()
def predict(
    structures: Annotated[list[str], typer.Argument(metavar="STRUCTURE...", help="Files ASE reads; 'file@:' takes all frames.")],
    model: Model = "graphene-pbe",
    out: Annotated[Path, typer.Option(help="Packed file (.tgh or .h5) that ase_tracegrad.read opens.")] = Path("prediction.tgh"),
    batch: Annotated[str, typer.Option(help="Structures per forward pass, or auto.")] = "auto",
    device: Device = None,
    dtype: Dtype = "float32",
):
    """Write H(R) and S(R) of one or many structures."""
    _check_folder(out)
    if out.suffix not in (".tgh", ".h5"):
        raise CommandError(f"--out {out}: the packed file ends in .tgh or .h5")
    if batch != "auto" and not batch.isdigit():
        raise CommandError(f"--batch {batch}: expected 'auto' or a positive number")
    named = [(f"{Path(name).name}@{frame}", atoms) for name in structures for frame, atoms in enumerate(_read_structures(name))]
    repeated = {name for name, _ in named if [n for n, _ in named].count(name) > 1}
    if repeated:
        raise CommandError(f"two structures would both be called {sorted(repeated)[0]}: rename one of the files")
    from .calculator import TraceGradCalculator
    from .io.store import StoreWriter

    calc = TraceGradCalculator(model, device=device, dtype=dtype)
    samples = calc.predict([atoms for _, atoms in named], batch=batch if batch == "auto" else int(batch))
    with StoreWriter(out, {"model": calc.predictor.card.name}) as store:
        for (name, _), sample in zip(named, samples, strict=True):
            store.add(name, sample)
    typer.echo(f"wrote {out}: H(R) in eV and S(R) of {len(named)} structure(s)")


@app.command()
def info(structure: Structure, model: Model = "graphene-pbe", device: Device = None, dtype: Dtype = "float32"):
    """What a model would make of a structure: size, electrons, warnings; and the model card."""
    atoms = _attach(structure, model, device, dtype, None)
    from .structure import Structure as Checked

    predictor = atoms.calc.predictor
    reasons = predictor.check(Checked.from_atoms(atoms))
    layout = predictor.basis.layout(atoms.numbers)
    typer.echo(f"structure: {atoms.get_chemical_formula()}, {len(atoms)} atoms, periodic along {_axes(atoms.pbc)}")
    typer.echo(f"orbitals: {layout.total}; valence electrons: {predictor.basis.count_electrons(atoms.numbers):g}")
    typer.echo("training domain: " + ("inside" if not reasons else "; ".join(reasons)))
    typer.echo(str(predictor.card))


@models_app.callback()
def models(context: typer.Context):
    """List, show or verify the embedded models; without a command: list."""
    if context.invoked_subcommand is None:
        list_models()


@models_app.command("list")
def list_models():
    """One line per model."""
    from .nn.predictor import available_models, load_model

    for name in available_models():
        typer.echo(load_model(name, device="cpu").card.line)


@models_app.command("show")
def show_model(model: Annotated[str, typer.Argument(help="Name or path.")]):
    """The whole model card."""
    from .nn.predictor import load_model

    typer.echo(str(load_model(model, device="cpu").card))


@models_app.command("verify")
def verify_models(model: Annotated[list[str] | None, typer.Argument(help="Names or paths; default: all embedded models.")] = None):
    """Read checkpoints completely; exit code 2 at the first that is damaged."""
    from .nn.predictor import available_models, load_model

    for name in model or available_models():
        load_model(name, device="cpu")
        typer.echo(f"{name}: ok")


# -- input -----------------------------------------------------------------------------------------


def _read_structures(name: str) -> list:
    """All structures that 'file' or 'file@index' means; CommandError if ASE cannot read them."""
    from ase.io import read

    file = Path(name.rsplit("@", 1)[0] if "@" in name and not Path(name).exists() else name)
    if not file.is_file():
        raise CommandError(f"no structure file {file}")
    try:
        found = read(name)
    except Exception as error:
        # ASE's readers raise whatever their parsers meet; to the user it is one thing.
        raise CommandError(f"{name} cannot be read as a structure: {type(error).__name__}: {error}") from error
    return found if isinstance(found, list) else [found]


def _attach(structure: str, model: str, device: str | None, dtype: str, kpts: str | None):
    """The structure with a calculator on it."""
    from .calculator import TraceGradCalculator

    parameters = {} if kpts is None else dict.fromkeys(("kpts", "fermi_kpts"), _parse_kpts(kpts))
    found = _read_structures(structure)
    if len(found) != 1:
        raise CommandError(f"{structure} means {len(found)} structures; pick one, as in {structure.split('@')[0]}@0")
    calc = TraceGradCalculator(model, device=device, dtype=dtype, **parameters)
    found[0].calc = calc
    return found[0]


def _parse_kpts(text: str):
    try:
        parts = text.replace("x", ",").split(",")
        if len(parts) == 3:
            return tuple(int(part) for part in parts)
        if len(parts) == 1:
            return {"density": float(text), "gamma": True}
    except ValueError:
        pass
    raise CommandError(f"--kpts {text}: expected three whole numbers such as 12,12,1 or one density such as 5.0")


def _parse_window(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise CommandError(f"--window {text}: expected two energies such as -10,6") from None
    if not low < high:
        raise CommandError(f"--window {text}: the lowest energy must come first")
    return low, high


def _check_picture(out: Path):
    if out.suffix not in PICTURES:
        raise CommandError(f"--out {out}: a picture ends in {', '.join(PICTURES)}")
    _check_folder(out)


def _check_folder(out: Path):
    if not out.absolute().parent.is_dir():
        raise CommandError(f"--out {out}: there is no folder {out.absolute().parent}")


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
