"""The command tracegrad levels: orbital energies around the gap, dipole moment and atomic charges of a molecule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .arguments import CommandError, Device, Dtype, check_folder, check_picture, read_structure
from .replace_file import replace_text
from .save_picture import load_plots, save_picture

if TYPE_CHECKING:
    from .electronic_structure import ElectronicStructure

STORED = (".tgh", ".h5", ".db")


def show_levels(
    source: Annotated[
        str, typer.Argument(metavar="MOLECULE", help="Structure ASE reads, or computed H and S: packed file, QH9, DeepH; '@NAME'.")
    ],
    model: Annotated[str | None, typer.Option("--model", "-m", help="Name or path; default: the embedded one for it.")] = None,
    charge: Annotated[float | None, typer.Option(help="In e; default: 'charge=' in an extended XYZ file, else 0.")] = None,
    around: Annotated[int, typer.Option(min=1, help="How many levels to list on each side of the gap.")] = 5,
    plot: Annotated[Path | None, typer.Option(help="Picture of the levels (.png, .pdf, .svg).")] = None,
    out: Annotated[Path | None, typer.Option("--json", help="All levels and charges as json.")] = None,
    device: Device = None,
    dtype: Dtype = "float32",
):
    """Orbital energies around the gap, HOMO, LUMO, dipole and atomic charges of a molecule with closed shells.

    Of a file that holds H and S itself no model is asked, unless --model names one.
    """
    if plot is not None:
        check_picture(plot, "--plot")
    if out is not None:
        check_folder(out, "--json")
    stored = _find_stored(source) if model is None else None
    if stored is None:
        structure, origin = _predict(source, model, charge, device, dtype)
    elif charge is not None:
        raise CommandError(f"--charge {charge:g}: {source} holds the number of electrons itself")
    else:
        structure, origin = _read(*stored), f"H and S in {source}"
    levels = structure.find_levels()
    numbers = collect_numbers(structure) | {"source": origin}
    typer.echo(f"{numbers['formula']}, {numbers['n_electrons']:g} electrons, charge {numbers['charge']:g}; {origin}")
    typer.echo(levels.format_table(around))
    typer.echo(format_dipole(numbers["dipole"], numbers["charge"]))
    typer.echo(format_charges(numbers))
    if out is not None:
        replace_text(out, json.dumps(numbers))
    if plot is not None:
        save_picture(load_plots().plot_levels(levels, title=numbers["formula"]), plot)
    written = [str(path) for path in (out, plot) if path is not None]
    if written:
        typer.echo(f"wrote {' and '.join(written)}")


def collect_numbers(structure: ElectronicStructure) -> dict:
    """Everything the command knows, JSON-able: energies in eV, dipole in e Angstrom, charges in e."""
    from .electronic.kmesh import make_list

    levels, sample, gamma = structure.find_levels(), structure.sample, make_list([[0.0, 0.0, 0.0]])
    mulliken, loewdin = (structure.compute_populations(gamma, method=method) for method in ("mulliken", "loewdin"))
    return {
        "formula": sample.atoms.get_chemical_formula(),
        "n_electrons": structure.n_electrons,
        "charge": float(round(mulliken.charges.sum(), 9)) + 0.0,
        "energies": levels.energies.tolist(),
        "occupations": levels.occupations.tolist(),
        **{name: getattr(levels, name) for name in ("homo", "lumo", "gap", "fermi_level")},
        "dipole": structure.compute_dipole().tolist(),
        "symbols": list(mulliken.symbols),
        "mulliken": mulliken.charges.tolist(),
        "loewdin": loewdin.charges.tolist(),
    }


def format_dipole(dipole: list[float], charge: float) -> str:
    """One line: size in Debye and the vector (3,) in e Angstrom."""
    from .units import DEBYE

    size = sum(x**2 for x in dipole) ** 0.5 / DEBYE
    vector = ", ".join(f"{round(x, 4) + 0.0:.4f}" for x in dipole)
    return f"dipole {size:.4f} D, ({vector}) e Angstrom" + (" about the origin of the coordinates" if charge else "")


def format_charges(numbers: dict) -> str:
    """A table of the charges of the atoms."""
    lines = [f"{'atom':<10}{'Mulliken (e)':>13}{'Loewdin (e)':>13}"]
    rows = zip(numbers["symbols"], numbers["mulliken"], numbers["loewdin"], strict=True)
    return "\n".join(lines + [f"{f'{symbol} {n}':<10}{a:>13.4f}{b:>13.4f}" for n, (symbol, a, b) in enumerate(rows)])


def _find_stored(source: str) -> tuple[Path, str | None] | None:
    """Path and name of a structure among those of a file or folder that holds H and S; None for a structure file."""
    path, _, name = source.partition("@")
    if Path(source).exists():
        path, name = source, ""
    return (Path(path), name or None) if Path(path).suffix in STORED or Path(path).is_dir() else None


def _read(path: Path, name: str | None) -> ElectronicStructure:
    from .electronic_structure import ElectronicStructure
    from .io.folders import open_samples

    with open_samples(path) as samples:
        if name is None and len(samples) != 1:
            raise CommandError(f"{path} holds {len(samples)} structures; pick one, as in {path}@{samples.names[0]}")
        try:
            return ElectronicStructure(samples[name or samples.names[0]])
        except KeyError as error:
            raise CommandError(str(error.args[0])) from None


def _predict(source: str, model: str | None, charge, device, dtype) -> tuple[ElectronicStructure, str]:
    atoms = read_structure(source)
    from .calculator import TraceGradCalculator

    if atoms.pbc.any():
        raise CommandError(
            f"{source} is periodic (pbc {atoms.pbc.tolist()}), and levels are those of a molecule: tracegrad bands and gap "
            "take crystals; of a molecule in a box save the structure with pbc = False"
        )
    name = model or _choose_model(atoms.numbers.tolist())
    atoms.calc = TraceGradCalculator(name, device=device, dtype=dtype, charge=charge)
    atoms.calc.levels()
    return atoms.calc.electronic_structure(), f"model {atoms.calc.predictor.card.name}"


def _choose_model(numbers: list[int]) -> str:
    from .models import find_model
    from .nn.checkpoint_header import find_embedded, read_header
    from .symbols import symbol_of

    known = find_embedded(numbers)
    complete = [name for name in known if read_header(find_model(name))[2].reference == "none"]  # needs no PySCF
    if len(complete) == 1:
        return complete[0]
    elements = " ".join(symbol_of(z) for z in sorted(set(numbers)))
    found = f"{' and '.join(known)} know {elements}: choose one" if known else f"no embedded model knows {elements}: name yours"
    raise CommandError(f"{found} with --model")
