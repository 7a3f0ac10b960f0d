"""The command tracegrad convert: DeepH legacy, DeepH new, SIESTA and packed files into each other."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from .arguments import CommandError, check_folder

LARGEST_ERROR = 1e-3  # of S from the basis files: far above what their interpolation costs, far below that of a wrong file


def convert_files(
    source: Annotated[Path, typer.Argument(help="Folder of structures at any depth, a structure's folder, or a packed file.")],
    out: Annotated[Path, typer.Argument(help="Packed file (.tgh, .h5), or folder for the DeepH formats.")],
    form: Annotated[
        str | None, typer.Option("--format", help="packed, deeph or deeph-legacy; default: packed or deeph, by OUT.")
    ] = None,
    basis: Annotated[list[str] | None, typer.Option(help="The DFT code's basis file: Bi8.0.pao:s3p2d2, Si.ion, H.orb.")] = None,
    code: Annotated[str, typer.Option(help="Valence electrons from the table of openmx, abacus, aims or pyscf.")] = "",
    valence: Annotated[list[str] | None, typer.Option(help="Valence electrons of an element, such as Mo=14; count anew.")] = None,
    splits: Annotated[
        str, typer.Option(help="For training: shares '0.8,0.1,0.1', a JSON file {split: [names]}, or QH9's stable-id etc.")
    ] = "",
    compact: Annotated[bool, typer.Option(help="Round packed H to 2^-28 eV, S to 2^-34; keep half of the blocks.")] = False,
    skip_broken: Annotated[bool, typer.Option(help="Leave out structures that cannot be read.")] = False,
):
    """Convert H(R) and S(R) of many structures; a second run goes on where the first was stopped.

    Packed files for training need --splits, and --basis (radial functions, from which S of new structures follows) or --code.
    """
    from .io.basis_files import attach_basis, read_basis_files
    from .io.convert import FORMATS, convert
    from .io.sample import Sample
    from .io.valence import set_valence

    form = form or ("packed" if out.suffix in (".tgh", ".h5") else "deeph")
    if form not in FORMATS:
        raise CommandError(f"--format {form}: expected {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    if not source.exists():
        raise CommandError(f"there is no file or folder {source}")
    if compact and form != "packed":
        raise CommandError(f"--compact is for packed files; the format {form} keeps every bit")
    check_folder(out)
    counts = parse_valence(valence or [])
    orbitals = set_valence(read_basis_files(basis), code, counts) if basis else None
    checked: list[float] = []

    def prepare(sample: Sample) -> Sample:
        own = set_valence(sample.basis, code, counts) if orbitals is None else orbitals
        sample = attach_basis(sample, own, recount=bool(counts))
        if orbitals is not None and not checked:
            checked.append(_check_overlap(sample))
        return sample

    done = convert(
        source,
        out,
        form,
        prepare=prepare,
        exact=not compact,
        options={"basis": basis, "code": code, "valence": counts},
        splits=splits,
        skip_broken=skip_broken,
    )
    if checked:
        typer.echo(f"S from the basis files equals that of the first structure to {checked[0]:.1e}")
    for name, reason in done.broken.items():
        typer.echo(f"left out {name}: {reason}", err=True)
    earlier = f", {len(done.finished)} were there from an earlier run" if done.finished else ""
    typer.echo(f"wrote {out}: {len(done.written)} structure(s) in the format {form}{earlier}")


def parse_valence(items: list[str]) -> dict[str, float]:
    """['Mo=14'] -> {'Mo': 14.0}."""
    counts = {}
    for item in items:
        symbol, _, count = item.partition("=")
        try:
            counts[symbol] = float(count)
        except ValueError:
            raise CommandError(f"--valence {item}: expected an element and a number, such as Mo=14") from None
    return counts


def _check_overlap(sample) -> float:
    """Largest difference of S from the basis and S of the data; CommandError if these are other orbitals."""
    from .overlap import compute_overlap

    error = float(np.abs((compute_overlap(sample.structure, sample.basis) - sample.overlap).values).max())
    if error > LARGEST_ERROR:
        raise CommandError(
            f"S from the basis files differs from S of the data by {error:.1e}, expected less than {LARGEST_ERROR:.0e}: "
            "these are not the files the data were made with"
        )
    return error
