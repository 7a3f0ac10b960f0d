"""What users type on the command line: options of several commands; structures, k-points and energies, or why not."""

from pathlib import Path
from typing import Annotated

import typer

PICTURES = (".png", ".pdf", ".svg")
Structure = Annotated[str, typer.Argument(metavar="STRUCTURE", help="Any file ASE reads; 'file@3' picks a frame.")]
Model = Annotated[str, typer.Option("--model", "-m", help="Name of an embedded model, or path of a checkpoint.")]
CrystalModel = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Name or path; default: the embedded one for crystals of these elements, or graphene-pbe."),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...; default: CUDA if there is one.")]
Dtype = Annotated[str, typer.Option(help="Precision of the network: float32 or float64.")]


class CommandError(ValueError):
    """A command that cannot be carried out; the message is all the user sees."""


def read_structures(name: str) -> list:
    """All structures that 'file' or 'file@index' means; CommandError if ASE cannot read them."""
    file = Path(name.rsplit("@", 1)[0] if "@" in name and not Path(name).exists() else name)
    if not file.is_file():
        raise CommandError(f"no structure file {file}")
    from ase.io import read  # seconds on a cold disk: not for a misspelt name

    try:
        if file.suffix == ".db":
            from .screen.inputs import check_database

            check_database(file)
        found = read(name)
    except Exception as error:
        count = _count_structures(file) if str(file) != name else 0
        if count:
            raise CommandError(f"{name} cannot be read: {file} holds {count} structure(s), counted from 0") from error
        if isinstance(error, KeyError) and isinstance(error.args[0], str) and error.args[0].isalpha() and len(error.args[0]) < 4:
            raise CommandError(f"{name} cannot be read as a structure: no element {error.args[0]!r}") from error
        # ASE's readers raise whatever their parsers meet; to the user it is one thing.
        raise CommandError(f"{name} cannot be read as a structure: {type(error).__name__}: {error}") from error
    return found if isinstance(found, list) else [found]


def _count_structures(file: Path) -> int:
    """How many structures a file holds; 0 if it cannot be read."""
    from ase.io import read

    try:
        return len(read(file, ":"))
    except Exception:
        return 0


def name_structures(files: list[str]) -> dict:
    """Every structure under a name of its own: the file's, with the frame's number where there are several."""
    named: dict = {}
    for file in files:
        frames = read_structures(file)
        for number, atoms in enumerate(frames):
            name = Path(file.rsplit("@", 1)[0]).name + (f"@{number}" if len(frames) > 1 else "")
            if name in named:
                raise CommandError(f"two structures would both be called {name}: rename one of the files")
            named[name] = atoms
    return named


def read_structure(name: str):
    """The one structure that 'file' or 'file@index' means; CommandError if there are several."""
    found = read_structures(name)
    if len(found) != 1:
        raise CommandError(f"{name} means {len(found)} structures; pick one, as in {name.split('@')[0]}@0")
    return found[0]


def attach(structure: str, model: str | None, device: str | None, dtype: str, kpts: str | None):
    """The structure with a calculator on it; ``kpts`` becomes the mesh of everything, the Fermi level included."""
    parameters = {} if kpts is None else dict.fromkeys(("kpts", "fermi_kpts"), parse_kpts(kpts))
    atoms = read_structure(structure)
    from .calculator import TraceGradCalculator

    model = model or choose_model(atoms)
    atoms.calc = TraceGradCalculator(model, device=device, dtype=dtype, **parameters)
    return atoms


def choose_model(atoms) -> str:
    """The embedded model for a crystal of these elements; graphene-pbe, which refuses what it does not know, for all else."""
    from .nn.checkpoint_header import choose_embedded

    default = "graphene-pbe"
    return choose_embedded(atoms.numbers.tolist(), default) if atoms.pbc.any() else default


def parse_kpts(text: str):
    """'12,12,1' or '12x12x1' -> a Gamma-centred mesh of that size; '5.0' -> one of that density."""
    try:
        parts = text.replace("x", ",").split(",")
        if len(parts) == 3:
            return {"size": tuple(int(part) for part in parts), "gamma": True}
        if len(parts) == 1:
            return {"density": float(text), "gamma": True}
    except ValueError:
        pass
    raise CommandError(f"--kpts {text}: expected three whole numbers such as 12,12,1 or one density such as 5.0")


def parse_window(text: str) -> tuple[float, float]:
    """'-10,6' -> (-10.0, 6.0)."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise CommandError(f"--window {text}: expected two energies such as -10,6") from None
    if not low < high:
        raise CommandError(f"--window {text}: the lowest energy must come first")
    return low, high


def check_grouping(option: str, grouping: str | None):
    """CommandError unless orbitals can be grouped like this; None: no groups are asked for."""
    from .electronic.projections import GROUPINGS

    if grouping is not None and grouping not in GROUPINGS:
        raise CommandError(f"{option} {grouping}: expected {', '.join(GROUPINGS[:-1])} or {GROUPINGS[-1]}")


def check_picture(out: Path, option: str = "--out"):
    """CommandError unless a picture can be written there."""
    if out.suffix not in PICTURES:
        raise CommandError(f"{option} {out}: a picture ends in {', '.join(PICTURES)}")
    check_folder(out, option)


def check_folder(out: Path, option: str = "--out"):
    """CommandError unless the folder of this file exists."""
    if not out.absolute().parent.is_dir():
        raise CommandError(f"{option} {out}: there is no folder {out.absolute().parent}")
