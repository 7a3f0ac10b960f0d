"""The commands tracegrad screen FILES..., tracegrad screen collect, report and calibrate."""

from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from .arguments import CommandError, Device, Dtype, check_folder, parse_kpts, parse_window


class FilesOrCommand(TyperGroup):
    """'screen a.cif b.cif' means 'screen run a.cif b.cif'."""

    def parse_args(self, context, arguments: list[str]) -> list[str]:
        """typer's, with the name of the command put where it was left out."""
        if arguments and arguments[0] not in {*self.commands, *context.help_option_names}:
            arguments = ["run", *arguments]
        return super().parse_args(context, arguments)


screen_app = typer.Typer(
    help="Gaps, bands, densities of states of many structures, as Parquet files. 'screen FILES...' is 'screen run FILES...'.",
    cls=FilesOrCommand,
    rich_markup_mode=None,
    no_args_is_help=True,
)


@screen_app.command("run")
def run_screening(
    structures: Annotated[
        list[str],
        typer.Argument(metavar="FILES...", help="Files ASE reads, 'file@:10', globs in quotes, ase.db; - is extxyz on stdin."),
    ],
    model: Annotated[
        list[str], typer.Option("--model", "-m", help="Name or file; more of them, each with --model, estimate the uncertainty.")
    ] = ["graphene-pbe"],  # noqa: B006 - typer does not change it
    out: Annotated[Path, typer.Option(help="Folder of the results; a second run goes on where the first ended.")] = Path("results"),
    properties: Annotated[str, typer.Option(help="Of gap (with the Fermi level), bands, dos, symmetry; with commas.")] = "gap",
    kpts: Annotated[
        str, typer.Option(help="Mesh of gap and Fermi level: '12,12,1', or a density in points per 1/Angstrom.")
    ] = "5.0",
    path: Annotated[str | None, typer.Option(help="Of the bands, such as GMKG; default: the lattice's path.")] = None,
    npoints: Annotated[int, typer.Option(min=1, help="About how many k-points on the path.")] = 60,
    dos_window: Annotated[
        str, typer.Option(help="Lowest and highest energy of densities of states, eV from the Fermi level.")
    ] = "-10,6",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: one for each core, or graphics card.")] = None,
    executor: Annotated[
        str, typer.Option(help="processes, parsl, parsl:FILE.py (which defines 'config'), dask, or dask:ADDRESS of a scheduler.")
    ] = "processes",
    device: Device = None,
    dtype: Dtype = "float32",
    batch: Annotated[str, typer.Option(help="Structures per forward pass, or auto.")] = "auto",
    chunk: Annotated[int, typer.Option(min=1, help="Structures per file of results, at most.")] = 100,
    retry_failed: Annotated[bool, typer.Option(help="Compute those again that failed in an earlier run.")] = False,
):
    """Compute properties of many structures; what is done is not done again, what fails is a row with the reason."""
    if batch != "auto" and not (batch.isdigit() and int(batch) > 0):
        raise CommandError(f"--batch {batch}: expected 'auto' or a positive number")
    from .screen.driver import RunOptions, screen

    try:
        done = screen(
            structures,
            model,
            properties,
            executor=load_executor(executor),
            out=out,
            workers=workers,
            run=RunOptions(chunk, retry_failed),
            kpts=parse_kpts(kpts),
            path=path,
            npoints=npoints,
            dos_window=parse_window(dos_window),
            device=device,
            dtype=dtype,
            batch=batch if batch == "auto" else int(batch),
        )
    except KeyboardInterrupt:
        typer.echo(f"\ninterrupted; the same command goes on where it ended (rows in {out})", err=True)
        raise typer.Exit(130) from None
    typer.echo(str(done))


@screen_app.command("collect")
def collect_results(
    folder: Annotated[Path, typer.Argument(help="The folder that screen wrote.")],
    out: Annotated[Path | None, typer.Option(help="ase.db file; default: screen.db in the folder. The CSV goes beside it.")] = None,
):
    """Make an ase.db of all structures that were computed, and a CSV of all rows, failures with their reasons."""
    if out is not None:
        check_folder(out)
    from .screen.collect import collect

    typer.echo(str(collect(folder, out)))


@screen_app.command("report")
def report_results(
    folder: Annotated[Path, typer.Argument(help="Folder of a screening.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page.")] = Path("screening.html"),
):
    """Write a screening as one HTML page that works offline: a table to sort and filter, dots, the bands of a row."""
    from .report.screening import write_screening_report
    from .report.screening_rows import COLUMNS, convert_rows
    from .screen.shards import iterate_rows

    check_folder(out)
    count = write_screening_report(convert_rows(iterate_rows(folder)), out, title=f"Screening {folder.name}", labels=COLUMNS)
    typer.echo(f"wrote {out}: {count} structure(s)")


@screen_app.command("calibrate")
def calibrate_model(
    data: Annotated[Path, typer.Argument(help="Packed file of labels with splits, on which the model was trained.")],
    model: Annotated[
        list[str],
        typer.Option("--model", "-m", help="Name or file; the result goes beside it as NAME.trust.json. More: its ensemble."),
    ],
):
    """Learn from the labels a model was trained on what distances in its features, and spreads of models, are worth."""
    from .screen.calibration import calibrate

    typer.echo(str(calibrate(model, data)))


def load_executor(name: str):
    """What --executor names: its own words, or the ``config`` of a Parsl file, which is run as the Python that it is."""
    kind, _, place = name.partition(":")
    if kind != "parsl" or not place:
        if kind not in ("processes", "parsl", "dask"):
            raise CommandError(f"--executor {name}: expected processes, parsl, parsl:FILE.py, dask or dask:ADDRESS")
        return name
    if not Path(place).is_file():
        raise CommandError(f"--executor {name}: there is no file {place}")
    import runpy

    defined = runpy.run_path(place)
    if "config" not in defined:
        raise CommandError(f"--executor {name}: {place} defines no 'config', a parsl.Config")
    return defined["config"]
