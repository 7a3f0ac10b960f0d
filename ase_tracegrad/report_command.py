"""The command tracegrad report: one structure as a page that opens in any browser, without a network."""

from pathlib import Path
from typing import Annotated

import typer

from .arguments import (
    CommandError,
    CrystalModel,
    Device,
    Dtype,
    Structure,
    attach,
    check_folder,
    check_grouping,
    parse_kpts,
    parse_window,
)


def report_structure(
    structure: Structure,
    model: CrystalModel = None,
    path: Annotated[str | None, typer.Option(help="Special points such as GMKG, or seekpath; default: the lattice's path.")] = None,
    npoints: Annotated[int, typer.Option(min=1, help="About how many k-points on the path.")] = 200,
    kpts: Annotated[
        str | None, typer.Option(help="Gamma-centred mesh '12,12,1' of gap, Fermi level and DOS, or a density.")
    ] = None,
    by: Annotated[str, typer.Option(help="Shares of each atom, element, shell or orbital.")] = "shell",
    window: Annotated[str, typer.Option(help="Lowest and highest energy first shown, eV.")] = "-10,6",
    symmetry: Annotated[bool, typer.Option(help="Compare H and S with the symmetry of the structure.")] = True,
    out: Annotated[Path, typer.Option("--out", "-o", help="The page (.html).")] = Path("report.html"),
    device: Device = None,
    dtype: Dtype = "float32",
):
    """Structure, Brillouin zone, bands, DOS, gap, symmetry and model card of one structure as one HTML file."""
    if out.suffix not in (".html", ".htm"):
        raise CommandError(f"--out {out}: a report ends in .html")
    check_folder(out)
    check_grouping("--by", by)
    limits, mesh = parse_window(window), None if kpts is None else parse_kpts(kpts)
    atoms = attach(structure, model, device, dtype, kpts)
    from .report import write_structure_report
    from .report.structure import ReportOptions

    options = ReportOptions(path, npoints, mesh, by, limits, symmetry)
    gap = write_structure_report(atoms, out, name=Path(structure).name, options=options)
    typer.echo(f"{gap}\nwrote {out}: open it in a browser; it needs no network")
