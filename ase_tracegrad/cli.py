"""The command line, tracegrad: its commands, and how they end.

Anything wrong with the input ends in exit code 2 and one line on stderr.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from . import __version__
from .arguments import Model, check_folder
from .band_commands import band_app
from .convert_command import convert_files
from .levels_command import show_levels
from .model_commands import models_app
from .predict_commands import predict_app
from .report_command import report_structure
from .screen_command import screen_app
from .thermal_commands import thermal_app
from .training_commands import evaluate_model_file, train_from_config

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
app.add_typer(band_app)
app.add_typer(predict_app)
app.add_typer(models_app, name="models")
app.add_typer(screen_app, name="screen")
app.add_typer(thermal_app)
OTHERS: dict[str, Any] = {"levels": show_levels, "convert": convert_files, "report": report_structure, "train": train_from_config}
for name, command in (OTHERS | {"evaluate": evaluate_model_file}).items():
    app.command(name)(command)


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
        except Exception as error:
            message = explain(error)
            if message is None:
                raise
            print("tracegrad: error: " + " ".join(message.split()), file=sys.stderr)
            sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


def explain(error: Exception) -> str | None:
    """What the user is told of an error; None for a bug, which shows its traceback.

    Whatever class it is derived from, an error class of this package carries a message for the user.
    """
    if hasattr(error, "format_message"):  # typer's own, about options and arguments
        return error.format_message()
    ours = type(error).__module__.startswith(f"{__package__}.")
    if ours or isinstance(error, (ValueError, OSError, MemoryError)):
        return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    from ase.calculators.calculator import CalculatorError

    return str(error) if isinstance(error, CalculatorError) else None


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
def demo(
    out: Annotated[Path, typer.Option(help="Folder for bands.png and dos.png.")] = Path("demo-output"),
    model: Model = "graphene-pbe",
):
    """Graphene from the embedded model beside stored CP2K bands of structures it never saw."""
    check_folder(out)
    from .demo import run_demo

    run_demo(out, model)
