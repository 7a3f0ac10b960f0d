"""The commands tracegrad train and tracegrad evaluate; training/train.py and training/evaluate.py are the same."""

import json
from pathlib import Path
from typing import Annotated

import typer

from .replace_file import replace_text


def train_from_config(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="YAML file, such as training/configs/mg.yaml.")],
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override, e.g. schedule.epochs=10.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from state.pt in the output folder.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show configuration, model size and data; train nothing.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Torch threads (equal numbers give equal results).")] = None,
):
    """Train a model from a YAML configuration; exit code 1 if it diverges.

    Writes config.out: config.json, log.csv, state.pt (for --resume) and, at the end, model.safetensors. Several processes:
    torchrun --nproc-per-node 2 --no-python tracegrad train CONFIG.
    """
    from .fit.config import load_config

    settings = load_config(config, set_ or [])
    import logging

    from .fit.run import plan_run, train_model

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if dry_run:
        text, problems = plan_run(settings)
        typer.echo(text)
        raise typer.Exit(2 if problems else 0)
    try:
        path = train_model(settings, resume=resume, threads=threads)
    except FloatingPointError as error:
        typer.echo(f"tracegrad: error: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo(f"\ninterrupted; continue with --resume (last saved state in {settings.out})", err=True)
        raise typer.Exit(130) from None
    if path is not None:
        typer.echo(f"{path}: evaluate it with  tracegrad evaluate {path} {settings.data}")


def evaluate_model_file(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of an embedded model, or path.")],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Packed file.")],
    split: Annotated[str, typer.Option(help="Which structures: train, validation, test ...")] = "test",
    out: Annotated[Path, typer.Option(help="Figures of every group and structure as json.")] = Path("evaluation.json"),
    write_card: Annotated[bool, typer.Option("--write-card", help="Store the figures in the model's card.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...; default: CUDA if there is one.")] = None,
):
    """Errors of a model on a split of a packed file, in meV: of H (raw and gauge-aligned) and of the bands."""
    from .arguments import check_folder
    from .fit.evaluate import evaluate_file, format_table, write_errors_into_card
    from .models import find_model
    from .nn.card import describe_rotations

    check_folder(out)
    if write_card and split in {"train", "validation"}:
        raise ValueError(f"--write-card: the card shows errors of unseen structures, and training used the split {split!r}")
    result = evaluate_file(model, data, split=split, device=device)
    replace_text(out, json.dumps(result, indent=1) + "\n")
    typer.echo(format_table(result["groups"]))
    turned = result.get("equivariance")
    if turned:
        typer.echo(describe_rotations(turned))
    typer.echo(f"wrote {out}: the same of every structure")
    if write_card:
        write_errors_into_card(find_model(model), result["groups"], turned)
