"""The commands tracegrad bands | dos | gap | symmetry: what H(R) and S(R) of one structure say in k-space."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .arguments import CrystalModel, Device, Dtype, Structure, attach, check_folder, check_grouping, check_picture, parse_window
from .replace_file import replace_file, replace_text
from .save_picture import load_plots, save_picture

band_app = typer.Typer(rich_markup_mode=None)

Kpts = Annotated[str | None, typer.Option(help="Gamma-centred mesh '12,12,1', or a density in points per 1/Angstrom '5.0'.")]
Width = Annotated[float | None, typer.Option(min=0.0, help="Gaussian sigma in eV; default: linear tetrahedra, a molecule 0.1.")]
Window = Annotated[str, typer.Option(help="Lowest and highest energy in the picture, eV.")]


@band_app.command()
def bands(
    structure: Structure,
    model: CrystalModel = None,
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
        axes = load_plots().plot_bands(result, gap=gap, window=limits)
    else:
        result, shares = atoms.calc.fat_bands(path, npoints, by=fat)
        axes = load_plots().plot_fat_bands(result, shares, gap=gap, window=limits)
        written.append(out.with_name(out.stem + "-shares.json"))
        replace_text(written[-1], json.dumps({name: share.tolist() for name, share in shares.items()}))
    save_picture(axes, out)
    with replace_file(written[1]) as part:
        result.write(part)
    typer.echo(f"Fermi level {result.reference:.4f} eV; {gap}")
    typer.echo(f"wrote {', '.join(str(path) for path in written[:-1])} and {written[-1]}")


@band_app.command()
def dos(
    structure: Structure,
    model: CrystalModel = None,
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
        axes, facts = load_plots().plot_dos(result, window=limits), result.info
    else:
        parts = atoms.calc.projected_dos(by=by, width=width)
        axes, facts, result = load_plots().plot_projected_dos(parts, window=limits), parts[0].info, parts.sum_all()
        numbers["projections"] = {part.info["label"]: list(part.get_weights()) for part in parts}
    save_picture(axes, out)
    numbers |= {"energies": list(result.get_energies()), "dos": list(result.get_weights())}
    numbers |= {key: facts[key] for key in ("energy_zero", "fermi_level")}
    replace_text(out.with_suffix(".json"), json.dumps(numbers))
    typer.echo(f"Fermi level {facts['fermi_level']}; wrote {out} and {out.with_suffix('.json')}")


@band_app.command()
def gap(
    structure: Structure,
    model: CrystalModel = None,
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


@band_app.command()
def symmetry(
    structure: Structure,
    model: CrystalModel = None,
    tolerance: Annotated[float, typer.Option(min=0.0, help="How far atoms may be from their images, Angstrom.")] = 1e-4,
    device: Device = None,
    dtype: Dtype = "float32",
):
    """How far H and S are from the symmetry of the structure."""
    typer.echo(str(attach(structure, model, device, dtype, None).calc.symmetry_report(tolerance=tolerance)))
