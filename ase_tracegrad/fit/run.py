"""From a configuration to a model file, and what such a run needs before anything is trained."""

import os
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import yaml

from ..io.sample import FormatError, Sample
from ..io.store import StoreReader
from ..lock import lock_output
from ..nn.backbones import build_network
from ..nn.config import HarmoSEConfig, config_to_dict
from ..nn.network import count_parameters
from ..symbols import symbol_of
from .config import RefineConfig, TrainingConfig
from .dataset import label_graph
from .export import MODEL_FILE, export_model
from .labelled import NO_FERMI_LEVEL, count_bytes, describe_missing_splits
from .processes import Processes, join_processes
from .schedule import Schedule
from .state import STATE_FILE, check_finished, prepare_folder
from .trainer import Trainer

NEEDED = ("train", "validation")
ALL = (*NEEDED, "test")


def train_model(config: TrainingConfig, *, resume: bool = False, threads: int | None = None) -> Path | None:
    """Train and write out/model.safetensors; its path in the process that writes, None in torchrun's others.

    A second stage of HarmoSE is trained after the first one, which gets the folder out/stage-1; see split_stages.
    threads: of torch, in this process from now on; None leaves them as they are.
    ValueError, OSError for settings or data that do not fit, FloatingPointError if the run diverges.
    """
    if threads:
        torch.set_num_threads(threads)
    processes = join_processes()
    try:
        if processes.size > config.optimizer.batch_size:
            raise ValueError(
                f"{processes.size} processes share the structures of a step, but optimizer.batch_size is "
                f"{config.optimizer.batch_size}: set it to at least {processes.size}, or start fewer processes"
            )
        first, last = split_stages(config)
        if first is not None and resume and (Path(first.out) / MODEL_FILE).exists():
            check_finished(Path(first.out), first)
        elif first is not None:
            if not resume:
                prepare_folder(Path(last.out), resume=False)  # refused now and not after stage 1
            _train(first, processes, resume=resume)
            processes.wait()
            resume = False
        resume = resume and (first is None or (Path(last.out) / STATE_FILE).exists())
        return _train(last, processes, resume=resume)
    finally:
        processes.leave()


def _train(config: TrainingConfig, processes: Processes, *, resume: bool) -> Path | None:
    with StoreReader(config.data) as store:
        basis = store.basis
    prepare_folder(Path(config.out), resume=resume)
    with lock_output(config.out) if processes.leads else nullcontext():
        trainer = Trainer(config, basis, sorted(basis.atoms), processes)
        if resume:
            trainer.resume()
        trainer.run()
        return export_model(trainer) if processes.leads else None


def split_stages(config: TrainingConfig) -> tuple[TrainingConfig | None, TrainingConfig]:
    """What is trained first, if anything, and what last.

    With a second stage of HarmoSE: stage 1 alone, by ``schedule``, unless ``start`` names a trained one; then both together
    with the settings of ``refine``. Without: nothing, and the configuration as it is.
    """
    if config.network.harmose.n_blocks == 0:
        return None, config
    refine = config.refine
    # Examples are turned late in it, and validation structures never: an early stop would come before they are.
    schedule = replace(config.schedule, kind="one-cycle", epochs=refine.epochs, early_stop=0)
    optimizer = replace(config.optimizer, learning_rate=refine.learning_rate)
    last = replace(config, schedule=schedule, optimizer=optimizer)
    if config.start:
        return None, last
    out = Path(config.out) / "stage-1"
    first = replace(config, out=str(out), network=replace(config.network, harmose=HarmoSEConfig()), refine=RefineConfig())
    return first, replace(last, start=str(out / MODEL_FILE))


def plan_run(config: TrainingConfig) -> tuple[str, list[str]]:
    """(text for people, problems): the resolved configuration, the data found, the size of the model; nothing is trained."""
    lines = [yaml.safe_dump(config_to_dict(config), sort_keys=False).rstrip(), ""]
    problems = []
    stages = [stage for stage in split_stages(config) if stage is not None]
    lines += [f"run: {stage.out} holds a run; --resume continues it" for stage in stages if (Path(stage.out) / STATE_FILE).exists()]
    try:
        with StoreReader(config.data) as store:
            basis, splits = store.basis, Counter(map(store.split, store.names))
            order = [*ALL, *(split for split in splits if split not in ALL)]
            found = ", ".join(f"{splits[split]} {split or 'without a split'}" for split in order if splits[split])
            lines.append(f"data: {config.data}: {found or 'no structures'}")
            if config.limit:
                used = ", ".join(f"{min(splits[split], config.limit)} {split}" for split in NEEDED)
                lines.append(f"limit: {config.limit} of each split, so {used} are used")
            missing = [split for split in NEEDED if not splits[split]]
            if missing:
                problems.append(describe_missing_splits(config.data, missing))
            first = next((name for name in store.names if store.split(name) == "train"), None)
            if first is not None:
                sample = store[first]
                if config.uses_bands and "fermi_level" not in sample.info:
                    problems.append(f"{first} has no Fermi level: {NO_FERMI_LEVEL}")
                lines += _describe_model(config, basis, first, sample, splits)
                lines += [_describe_steps(stage, splits) for stage in stages]
    except (OSError, ValueError) as error:
        where = "; training/prepare*.py make those of training/configs, tracegrad convert any other"
        problems.append(f"data: {error}" + (where if isinstance(error, OSError | FormatError) else ""))
    return "\n".join(lines + [f"cannot train yet: {problem}" for problem in problems]), problems


def _describe_model(config: TrainingConfig, basis, name: str, sample: Sample, splits: Counter) -> list[str]:
    with torch.random.fork_rng(devices=[]):
        network = build_network(config.network, basis, sorted(basis.atoms)).float()
    graph = label_graph(name, sample, network)
    memory = count_bytes(graph) * sum(_count(config, splits, split) for split in NEEDED) / 1e9
    limit = config.memory_gb
    shells = "; ".join(f"{symbol_of(z)} l = {' '.join(map(str, basis[z].angular_momenta))}" for z in network.elements)
    distances = sample.hamiltonian.distances(sample.structure.positions, sample.structure.cell)
    reach = np.array([network.reach[z] for z in sample.structure.numbers.tolist()])
    beyond = np.repeat(distances > reach[sample.hamiltonian.pairs].sum(axis=1), np.diff(sample.hamiltonian.offsets))
    left_out = "none is beyond the cut-off"
    if beyond.any():
        lost = 1000 * np.abs(sample.hamiltonian.values[beyond]).mean()
        left_out = f"beyond the cut-off {config.network.cutoff:g} their elements are {lost:.2g} meV in the mean"
    return [
        f"model: {count_parameters(network)} parameters, {shells}",
        f"labels: {'spinor' if sample.hamiltonian.spin == 'spinor' else 'spinless'} Hamiltonians; in {name}, "
        f"{len(sample.structure)} atoms, {graph.batch.n_pairs} pairs within the cut-off; blocks reach {distances.max():.2f} "
        f"Angstrom, {left_out}",
        f"memory: about {memory:.2g} GB of labels per process" + (f", of which {limit:g} GB stay" if limit else ", all kept"),
    ]


def _describe_steps(config: TrainingConfig, splits: Counter) -> str:
    """Of one stage."""
    what = "steps of the second stage" if config.network.harmose.n_blocks else "steps"
    schedule = Schedule(config.schedule, config.optimizer, -(-_count(config, splits, "train") // config.optimizer.batch_size))
    return (
        f"{what}: {schedule.steps_per_epoch} per epoch, {schedule.total_steps} at most; learning rate ({config.schedule.kind}) "
        f"{schedule.rate(0):.2g} at first, {config.optimizer.learning_rate:.2g} at most, {int(os.environ.get('WORLD_SIZE', '1'))} "
        f"process(es) on {config.device}"
    )


def _count(config: TrainingConfig, splits: Counter, split: str) -> int:
    return min(splits[split], config.limit) if config.limit else splits[split]
