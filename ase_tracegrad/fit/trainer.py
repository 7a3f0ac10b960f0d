"""The training loop: one structure after the other, averaged weights, bit-exact resume, any number of processes."""

import copy
import json
import logging
import math
import zlib
from dataclasses import astuple, fields
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..basis import Basis
from ..nn.assembly import assemble
from ..nn.backbones import build_network
from ..nn.config import config_to_dict
from ..nn.network import HamiltonianNetwork, count_parameters
from ..nn.rotated import forward_rotated, random_rotation
from ..replace_file import replace_text
from .config import TrainingConfig
from .dataset import LabelledGraph, labels_hash
from .device import choose_training_device, to_device
from .examples import Example, join_examples
from .labelled import LabelledGraphs, load_labelled
from .log import TrainingLog
from .loss import BlochStates, band_loss, element_loss, make_bloch_states, trace_loss
from .metrics import BandError, BandReference, HamiltonianError, hamiltonian_error, pool_errors
from .prepare_network import fit_refinement, prepare_network
from .processes import Processes
from .schedule import Schedule
from .start import start_from
from .state import CONFIG_FILE, prepare_folder, read_state, write_state
from .targets import trace_labels

log = logging.getLogger(__name__)

LOSSES = ("loss", "trace_loss", "band_loss")
COUNTERS = ("epoch", "step", "running_norm", "seconds")


class Trainer:
    """Train one network from a TrainingConfig; ``run()`` returns the averaged network.

    Everything lives in config.out: config.json, log.csv, state.pt (for resume); the first of several processes writes it.
    """

    def __init__(self, config: TrainingConfig, basis: Basis, elements: list[int], processes: Processes | None = None):
        self.config, self.out, self.processes = config, Path(config.out), processes or Processes()
        self.device = choose_training_device(config.device)
        with torch.random.fork_rng(devices=[]):  # the seed is ours, the global generator stays the user's
            torch.manual_seed(config.seed)
            self.network = build_network(config.network, basis, elements).float()
        self._begins_refined = bool(config.start) and start_from(self.network, config.start)
        self.log = TrainingLog(self.out, config.schedule.epochs, tensorboard=config.tensorboard and self.processes.leads)
        self._load_data(basis)
        if self._frozen:
            self.network.freeze_first_stage()
        self.network.to(self.device)
        self.processes.copy_from_leader(self.network)
        self.average = copy.deepcopy(self.network)
        o = config.optimizer
        learning = [p for p in self.network.parameters() if p.requires_grad]
        options: dict[str, Any] = {"weight_decay": o.weight_decay, "betas": (o.beta1, o.beta2), "fused": True}
        self.optimizer = torch.optim.AdamW(learning, lr=o.learning_rate, **options)
        self.order = torch.Generator().manual_seed(config.seed + 1)
        self.epoch = self.step = 0
        self.running_norm = self.seconds = 0.0
        self.schedule = Schedule(config.schedule, o, math.ceil(len(self.data["train"]) / o.batch_size))
        self.best: dict[str, Tensor] | None = None

    def _load_data(self, basis: Basis):
        config = self.config
        self.data: dict[str, LabelledGraphs] = load_labelled(
            config.data,
            self.network,
            ("train", "validation"),
            limit=config.limit,
            needs_fermi_level=config.uses_bands,
            memory=config.memory_gb * 1e9 or math.inf,
        )
        self.labels = labels_hash(graph for split in ("train", "validation") for graph in self.data[split])
        if not (self._frozen and config.start):  # what was fitted to the data of a frozen stage 1 belongs to its weights
            prepare_network(self.network, self.data["train"].kept, basis, config.standardize)
        if self._refines and not self._begins_refined:
            fit_refinement(self.network, self.data["train"].kept)
        self.examples: dict[str, Example] = {}
        self.states: dict[str, BlochStates] = {}
        self.references: dict[str, BandReference] = {}

    @property
    def _frozen(self) -> bool:
        """Whether stage 1 stays as it is."""
        return self._refines and not self.config.refine.joint

    @property
    def _uses_traces(self) -> bool:
        return not self._frozen and self.config.network.tracegrad.decoder and self.config.loss.trace_weight > 0

    @property
    def _refines(self) -> bool:
        return self.config.network.harmose.n_blocks > 0

    @property
    def _uses_bands(self) -> bool:
        return self.config.loss.band_weight > 0 and self.step / self.schedule.total_steps >= self.config.loss.band_start

    @property
    def _done(self) -> bool:
        return self.epoch >= self.config.schedule.epochs or bool(self.schedule.reason_to_stop(self.step))

    # -- the loop ----------------------------------------------------------------------------------

    def run(self, *, progress: bool = True) -> HamiltonianNetwork:
        """Train to the last epoch or an early stop, saving the state after each validation.

        ValueError if the folder holds a run that is not resumed.
        """
        if self.epoch == 0:
            prepare_folder(self.out, resume=False)
        if self.processes.leads:
            replace_text(self.out / CONFIG_FILE, json.dumps(config_to_dict(self.config), indent=1))
            log.info("%d parameters, %d training structures", count_parameters(self.network), len(self.data["train"]))
            self.log.begin(self.epoch)
        epochs, name, quiet = self.config.schedule.epochs, self.config.card.name, not (progress and self.processes.leads)
        with tqdm(total=epochs, initial=self.epoch, desc=name, unit="epoch", disable=quiet or None) as bar:
            while not self._done:
                start = process_time()
                losses = self._run_epoch()
                self.epoch += 1
                self.seconds += process_time() - start
                if self.epoch % self.config.validate_every == 0 or self._done:
                    figures = self._validate(losses)
                    bar.set_postfix({k: f"{figures[k]:.3f}" for k in ("mae_all", "mae_onsite", "band_rmse") if k in figures})
                bar.update()
        if self.epoch < epochs and self.processes.leads:
            log.info("ended after epoch %d: %s", self.epoch, self.schedule.reason_to_stop(self.step))
        if self.best is not None:
            self.average.load_state_dict(self.best)
        self.log.close()
        return self.average

    def _validate(self, losses: dict[str, float]) -> dict[str, float]:
        figures = self.evaluate(self.data["validation"], self.config.validate_bands)
        if self.schedule.watch(figures["mae_all"]) and self.config.schedule.early_stop:
            self.best = {name: tensor.clone() for name, tensor in self.average.state_dict().items()}
        if self.processes.leads:
            row = {"epoch": self.epoch, "cpu_seconds": round(self.seconds, 1), **losses, **figures}
            self.log.add(row, self.schedule.rate(self.step))
            self.save_state()
        return figures

    def _run_epoch(self) -> dict[str, float]:
        self.network.train()
        size, together, graphs = self.config.optimizer.batch_size, self.config.optimizer.together, self.data["train"]
        order = torch.randperm(len(graphs), generator=self.order).tolist()
        batches = [order[first : first + size] for first in range(0, len(order), size)]
        mine = graphs.in_order(k for batch in batches for k in self.processes.share(batch))
        sums = torch.zeros(len(LOSSES), dtype=torch.float64)
        for batch in batches:
            for group in self.optimizer.param_groups:
                group["lr"] = self.schedule.rate(self.step)
            self.optimizer.zero_grad(set_to_none=True)
            picks = zip(self._pick_kpts(len(batch)), self._pick_rotations(len(batch)), strict=True)
            chosen = self.processes.share(list(picks))
            for first in range(0, len(chosen), together):
                joined = chosen[first : first + together]
                total, parts = self._loss(join_examples([self._make_example(next(mine)) for _ in joined]), *joined[0])
                (total * len(joined) / len(batch)).backward()
                sums += torch.tensor(parts, dtype=torch.float64) * len(joined) / len(order)
            self.processes.sum_gradients(self.network.parameters())
            self._clip_gradients()
            self.optimizer.step()
            self.step += 1
            self._update_average()
        return dict(zip(LOSSES, self.processes.sum(sums).tolist(), strict=True))

    def _pick_kpts(self, n: int) -> list[int]:
        """A k-point of the band loss for each structure; every process draws all of them, so that they stay in step."""
        if not self._uses_bands:
            return [0] * n
        return [int(torch.randint(self.config.loss.band_kpts, (1,), generator=self.order)) for _ in range(n)]

    def _pick_rotations(self, n: int) -> list[np.ndarray | None]:
        """A rotation for each structure, None before they are turned; the same in every process, as the k-points are."""
        largest = self.config.refine.largest_angle(self.step / self.schedule.total_steps) if self._refines else 0.0
        if largest == 0:
            return [None] * n
        seeds = torch.randint(2**62, (n,), generator=self.order).tolist()
        return [random_rotation(np.random.default_rng(seed), largest) for seed in seeds]

    def _loss(self, example: Example, pick: int, rotation: np.ndarray | None) -> tuple[Tensor, list[float]]:
        loss, graph = self.config.loss, example.graph
        if rotation is None:
            prediction = self.network(graph.batch, with_traces=self._uses_traces)
        else:
            prediction = forward_rotated(self.network, graph.batch, rotation, with_traces=self._uses_traces)
        elements = element_loss(prediction, graph, example.envelope, loss.onsite_weight, loss.elements)
        total, parts = elements, [elements.item(), 0.0, 0.0]
        # Both extra losses are weighted relative to the element loss, so their units do not matter.
        if example.traces is not None:
            trace = trace_loss(prediction, example.traces)
            done = self.step / self.schedule.total_steps
            weight = loss.trace_weight * (0.5 * (1 + math.cos(math.pi * done)) if loss.trace_decay else 1.0)
            total = total + weight * (elements / trace).detach() * trace
            parts[1] = trace.item()
        if self._uses_bands and isinstance(graph, LabelledGraph):  # graphs that are joined have no bands, see TrainingConfig
            bands = band_loss(prediction, graph, example.envelope, self._bloch_states(graph), pick)
            total = total + loss.band_weight * (elements / bands).detach() * bands
            parts[2] = bands.item()
        return total, parts

    def _make_example(self, graph: LabelledGraph) -> Example:
        if graph.name in self.examples:
            return self.examples[graph.name]
        on_device = to_device(graph, self.device)
        traces = trace_labels(self.network, on_device, self.config.loss.trace_label) if self._uses_traces else None
        example = Example(on_device, self.network.readout.envelope(on_device.batch), traces)
        if self.data["train"].keeps(graph.name):
            self.examples[graph.name] = example
        return example

    def _bloch_states(self, graph: LabelledGraph) -> BlochStates:
        if graph.name not in self.states:
            loss = self.config.loss
            seed = [self.config.seed, zlib.crc32(graph.name.encode())]  # other k-points for every structure
            index = self.network.shells.padded_index(graph.sample.structure.numbers)
            states = make_bloch_states(graph, index, loss.band_kpts, loss.band_above_fermi, seed)
            self.states[graph.name] = to_device(states, self.device)
        return self.states[graph.name]

    # -- optimisation ------------------------------------------------------------------------------

    def _clip_gradients(self):
        """Clip at a multiple of the running norm: a fixed limit is too loose late in the run."""
        o = self.config.optimizer
        limit = min(o.clip * self.running_norm or math.inf, o.clip_norm or math.inf)
        norm = float(torch.nn.utils.clip_grad_norm_(self.network.parameters(), limit))
        if not math.isfinite(norm):
            raise FloatingPointError(f"the gradient is not finite at step {self.step}: lower optimizer.learning_rate")
        self.running_norm = 0.98 * self.running_norm + 0.02 * min(norm, 3 * self.running_norm) if self.running_norm else norm

    @torch.no_grad()
    def _update_average(self):
        decay = min(self.config.optimizer.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)

    # -- evaluation and state ----------------------------------------------------------------------

    @torch.inference_mode()
    def evaluate(self, graphs: LabelledGraphs, n_bands: int) -> dict[str, float]:
        """Figures of the averaged network on labelled graphs; bands of the first n_bands. Each process takes its share."""
        self.average.eval()
        n_bands = min(n_bands, len(graphs))
        elements = torch.zeros(len(graphs), len(fields(HamiltonianError)), dtype=torch.float64)
        bands = torch.zeros(n_bands, len(fields(BandError)), dtype=torch.float64)
        mine = self.processes.share(range(len(graphs)))
        for k, graph in zip(mine, graphs.in_order(mine), strict=True):
            batch, sample = graph.batch.to(self.device), graph.sample
            prediction = self.average(batch)
            references = None if sample.reference is None else [sample.reference]
            (matrix,) = assemble(self.average, [graph.graph], batch, prediction, sample.basis, [sample.overlap], references)
            error = hamiltonian_error(matrix, sample)
            elements[k] = torch.tensor(astuple(error), dtype=torch.float64)
            if k < n_bands:
                if graph.name not in self.references:
                    self.references[graph.name] = BandReference(sample)
                found = self.references[graph.name].error(matrix, error)
                bands[k] = torch.tensor(astuple(found), dtype=torch.float64)
        return pool_errors(
            [HamiltonianError(*row) for row in self.processes.sum(elements).tolist()],
            [BandError(*row) for row in self.processes.sum(bands).tolist()],
        )

    def save_state(self):
        """Write everything a resumed run needs, atomically."""
        parts = {name: getattr(self, name).state_dict() for name in ("network", "average", "optimizer")}
        counters = {name: getattr(self, name) for name in COUNTERS}
        rest: dict[str, Any] = {"order": self.order.get_state(), "plateau": self.schedule.state, "best": self.best}
        write_state(self.out, parts | counters | rest, self.config, self.labels)

    def resume(self):
        """Continue from state.pt; refuses a state written with other settings."""
        state = read_state(self.out, self.config, self.labels)
        for name in ("network", "average", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        for name in COUNTERS:
            setattr(self, name, state[name])
        self.order.set_state(state["order"])
        self.schedule.state |= state["plateau"]  # one of an older version holds less
        self.best = state.get("best")
