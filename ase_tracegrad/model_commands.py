"""The commands tracegrad models list | info (or show) | verify."""

from typing import Annotated

import typer

models_app = typer.Typer(help="The models that come with the package.", invoke_without_command=True, rich_markup_mode=None)


@models_app.callback()
def models(context: typer.Context):
    """List, describe or verify the embedded models; without a command: list."""
    if context.invoked_subcommand is None:
        list_models()


@models_app.command("list")
def list_models():
    """One line per model."""
    from .models import available_models, find_model
    from .nn.checkpoint_header import read_header

    for name in available_models():
        typer.echo(read_header(find_model(name))[0].line)


@models_app.command("info")
@models_app.command("show", hidden=True)
def show_model(model: Annotated[str, typer.Argument(help="Name or path.")]):
    """The whole model card."""
    from .models import find_model
    from .nn.checkpoint_header import read_header

    typer.echo(str(read_header(find_model(model))[0]))


@models_app.command("verify")
def verify_models(model: Annotated[list[str] | None, typer.Argument(help="Names or paths; default: all embedded models.")] = None):
    """Read checkpoints completely and compare their checksums; exit code 2 at the first that is damaged."""
    from .models import available_models, find_model
    from .nn.checkpoint_header import has_checksum
    from .nn.predictor import load_model

    for name in model or available_models():
        load_model(name, device="cpu")
        checked = has_checksum(find_model(name))
        typer.echo(f"{name}: ok{'' if checked else ', but it has no checksum: saved by an early version'}")
