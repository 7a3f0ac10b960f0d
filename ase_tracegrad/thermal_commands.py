"""The commands tracegrad displace | thermal-gap | unfold: what temperature does to structures, gaps and bands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .arguments import (
    CommandError,
    Device,
    Model,
    check_folder,
    check_picture,
    name_structures,
    parse_kpts,
    parse_window,
    read_structure,
)
from .replace_file import replace_file, replace_text
from .save_picture import load_plots, save_picture

thermal_app = typer.Typer(rich_markup_mode=None)

Phonons = Annotated[
    str, typer.Argument(metavar="PHONONS", help="A phonopy file with force constants, or with --potential a structure.")
]
Supercell = Annotated[str, typer.Option(help="Primitive cells along each vector, '3,3,1'.")]
Potential = Annotated[
    str | None, typer.Option(help="ASE calculator for force constants of the structure in PHONONS, by its name: emt, lj ...")
]
Method = Annotated[str, typer.Option(help="monte-carlo, or special: few displacements that stand for the whole ensemble.")]
Pairs = Annotated[int, typer.Option(min=1, help="Pairs of displacements u, -u at each temperature.")]
Seed = Annotated[int, typer.Option(help="Of the random numbers.")]


@thermal_app.command("displace")
def displace(
    phonons: Phonons,
    supercell: Supercell,
    temperature: Annotated[float, typer.Option(min=0.0, help="In K; 0 is zero-point motion.")] = 300.0,
    method: Method = "monte-carlo",
    pairs: Pairs = 10,
    seed: Seed = 0,
    potential: Potential = None,
    out: Annotated[Path, typer.Option(help="Structures (.xyz, .traj ...); how they were made goes beside them as .json.")] = Path(
        "displaced.xyz"
    ),
):
    """Supercells displaced as phonons are at a temperature, quantum statistics, in pairs u, -u."""
    check_folder(out)
    import numpy as np
    import phonopy
    from ase.io import write

    kind = _find_format(out)

    from .thermal.ensemble import draw_displacements
    from .thermal.harmonic import HarmonicCrystal

    cells = _parse_supercell(supercell)
    crystal = HarmonicCrystal.from_phonons(_find_phonons(phonons, potential, supercell), cells)
    displacements = draw_displacements(crystal, temperature, pairs, method=method, seed=seed)
    with replace_file(out) as part:
        write(part, [crystal.displace(u) for u in displacements], format=kind)
    squares = crystal.mean_squares(temperature).trace(axis1=1, axis2=2)
    symbols = np.array(crystal.supercell.get_chemical_symbols())
    motion = {str(symbol): float(squares[symbols == symbol].mean() ** 0.5) for symbol in np.unique(symbols)}
    facts = {
        "phonons": phonons, "potential": potential, "supercell": crystal.matrix.tolist(), "temperature": temperature,
        "pairs": pairs, "method": method, "seed": seed, "phonopy": phonopy.__version__, "root_mean_square": motion,
    }  # fmt: skip
    replace_text(out.with_suffix(".json"), json.dumps(facts, indent=1) + "\n")
    listed = ", ".join(f"{symbol} {value:.3f}" for symbol, value in motion.items())
    typer.echo(f"root mean square displacements at {temperature:g} K (Angstrom): {listed}")
    typer.echo(f"wrote {out}: {len(displacements)} supercells of {len(crystal.supercell)} atoms; and {out.with_suffix('.json')}")


@thermal_app.command("thermal-gap")
def thermal_gap(
    phonons: Phonons,
    supercell: Supercell,
    model: Model,
    temperatures: Annotated[str, typer.Option(help="In K, with commas.")] = "0,100,200,300,400",
    method: Method = "monte-carlo",
    pairs: Pairs = 10,
    seed: Seed = 0,
    potential: Potential = None,
    kpts: Annotated[str | None, typer.Option(help="Mesh of the primitive cell that finds the band edges, '12,12,1'.")] = None,
    out: Annotated[Path, typer.Option(help="Folder; a second run with it computes what is missing.")] = Path("thermal-gap"),
    device: Device = None,
):
    """Gap and band edges against temperature, with standard errors, zero-point renormalization and fits."""
    check_folder(out)
    wanted = _parse_temperatures(temperatures)
    cells = _parse_supercell(supercell)
    from .calculator import TraceGradCalculator
    from .thermal.gap import gap_vs_temperature

    parameters = {} if kpts is None else {"kpts": parse_kpts(kpts)}
    calc = TraceGradCalculator(model, device=device, **parameters)
    source = _find_phonons(phonons, potential, supercell)
    result = gap_vs_temperature(calc, source, wanted, cells, method=method, n_pairs=pairs, seed=seed, out=out)
    result.write(out / "gap.json")
    _draw_gap(result, out)
    typer.echo(str(result))
    typer.echo(f"wrote {out}/gap.json, gap.png and convergence.png")


@thermal_app.command("unfold")
def unfold(
    structures: Annotated[str, typer.Argument(metavar="SUPERCELLS", help="File of supercells; 'file@:' averages over all frames.")],
    primitive: Annotated[str, typer.Argument(metavar="PRIMITIVE", help="The undisplaced primitive cell, or its phonopy file.")],
    model: Model,
    path: Annotated[str | None, typer.Option(help="Special points such as GMKG, or seekpath; default: the lattice's path.")] = None,
    npoints: Annotated[int, typer.Option(min=1, help="About how many k-points on the path.")] = 80,
    width: Annotated[float, typer.Option(min=0.001, help="Gaussian sigma in eV.")] = 0.05,
    window: Annotated[str, typer.Option(help="Lowest and highest energy, eV.")] = "-4,4",
    out: Annotated[Path, typer.Option(help="Picture (.png, .pdf, .svg); the numbers go beside it as .npz.")] = Path("unfolded.png"),
    device: Device = None,
):
    """Spectral function A(k, E) of supercells in the Brillouin zone of their primitive cell."""
    check_picture(out)
    limits = parse_window(window)
    cell, supercells = _read_primitive(primitive), list(name_structures([structures]).values())
    from .calculator import TraceGradCalculator
    from .thermal.spectral import compute_spectral_functions

    calc = TraceGradCalculator(model, device=device)
    found = compute_spectral_functions(calc, cell, supercells, path, npoints, window=limits, width=width)
    found.write(out.with_suffix(".npz"))
    draw = load_plots().plot_spectral_function
    axes = draw(found.path, found.energies - found.zero, found.values, zero=found.zero_name, window=limits)
    save_picture(axes, out)
    typer.echo(f"wrote {out} and {out.with_suffix('.npz')}: A(k, E) of {found.n_snapshots} supercell(s)")


def _find_phonons(source: str, potential: str | None, supercell: str):
    """The phonopy file, or force constants of the structure by an ASE calculator."""
    from .thermal.phonons import compute_force_constants, load_phonons

    if potential is None:
        return load_phonons(source)
    atoms = read_structure(source)
    from ase.calculators.calculator import get_calculator_class

    try:
        calculator = get_calculator_class(potential)()
    except (ImportError, AttributeError) as error:
        raise CommandError(f"--potential {potential}: ASE has no calculator of this name: {error}") from error
    return compute_force_constants(atoms, calculator, _parse_supercell(supercell))


def _read_primitive(source: str):
    """The primitive cell of a phonopy file, with the origin of the supercells that displace makes of it, or a structure."""
    if Path(source).suffix not in (".yaml", ".yml"):
        return read_structure(source)
    from .thermal.phonons import load_phonons, to_atoms

    return to_atoms(load_phonons(source).primitive)


def _find_format(out: Path) -> str:
    """ASE's name of the format that holds several structures and that the file's name ends with."""
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats

    try:
        kind = "extxyz" if out.suffix == ".xyz" else filetype(str(out), read=False)
    except UnknownFileTypeError:
        kind = ""
    # Databases of ASE are known by their names, and ours ends in .part until it is whole.
    if kind not in ioformats or not ioformats[kind].can_write or ioformats[kind].single or kind in ("db", "json"):
        raise CommandError(f"--out {out}: expected a format of ASE that holds several structures, such as .xyz or .traj")
    return kind


def _parse_supercell(text: str) -> tuple[int, ...]:
    try:
        cells = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        cells = ()
    if len(cells) != 3 or min(cells) < 1:
        raise CommandError(f"--supercell {text}: expected three positive whole numbers such as 3,3,1")
    return cells


def _parse_temperatures(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise CommandError(f"--temperatures {text}: expected numbers in K with commas between them, such as 0,100,300") from None


def _draw_gap(result, out: Path):
    import numpy as np

    plot, errors = load_plots(), result.error()
    fit = next(iter(reversed(result.fits())), None)
    grid = np.linspace(result.temperatures[0], result.temperatures[-1], 200)
    axes = plot.plot_gap_against_temperature(
        result.temperatures,
        result.mean(),
        None if np.isnan(errors).any() else errors,
        fit=None if fit is None else (grid, fit(grid)),
        fit_name="" if fit is None else fit.name,
        static=result.select("gap")[1],
    )
    save_picture(axes, out / "gap.png")
    means, spread = result.converge()
    chosen = {f"{result.temperatures[t]:g} K": t for t in (0, -1)}
    axes = plot.plot_convergence({k: means[t] for k, t in chosen.items()}, {k: spread[t] for k, t in chosen.items()})
    save_picture(axes, out / "convergence.png")
