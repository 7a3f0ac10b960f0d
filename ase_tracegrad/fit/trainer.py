"""The training loop: one structure after the other, averaged weights, atomic checkpoints, bit-exact resume."""

import copy
import csv
import json
import logging
import math
import os
import pickle
import time
import zlib
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..basis import Basis
from ..nn.assembly import assemble
from ..nn.backbones import build_network
from ..nn.config import config_to_dict
from ..nn.network import HamiltonianNetwork, count_parameters
from .config import TrainingConfig
from .dataset import LabelledGraph, labels_hash, load_labelled
from .loss import BlochStates, band_loss, element_loss, make_bloch_states, trace_loss
from .metrics import BandReference, hamiltonian_error, pool_errors
from .start import start_from
from .targets import TraceLabels, fit_standardization, trace_labels

log = logging.getLogger(__name__)

STATE_FILE = "state.pt"
LOG_FILE = "log.csv"


class Trainer:
    """Train one network from a TrainingConfig; ``run()`` returns the averaged network.

    Everything lives in config.out: config.json, log.csv, state.pt (for resume).
    """

    def __init__(self, config: TrainingConfig, basis: Basis, elements: list[int]):
        self.config, self.out = config, Path(config.out)
        with torch.random.fork_rng(devices=[]):  # the seed is ours, the global generator stays the user's
            torch.manual_seed(config.seed)
            self.network = build_network(config.network, basis, elements).float()
        if config.start:
            start_from(self.network, config.start)
        with_bands = config.loss.band_weight > 0 or config.validate_bands > 0
        splits = ("train", "validation")
        self.data = load_labelled(config.data, self.network, splits, limit=config.limit, needs_fermi_level=with_bands)
        if config.standardize:
            fit_standardization(self.network, self.data["train"])
        self.average = copy.deepcopy(self.network)
        o = config.optimizer
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=o.learning_rate, weight_decay=o.weight_decay, betas=(0.9, 0.99), fused=True
        )
        self.order = torch.Generator().manual_seed(config.seed + 1)
        self.epoch = self.step = 0
        self.running_norm = 0.0
        self.plateau = {"factor": 1.0, "best": math.inf, "waited": 0}
        self.seconds = 0.0
        self.steps_per_epoch = math.ceil(len(self.data["train"]) / o.batch_size)
        self._prepare_labels()

    def _prepare_labels(self):
        readout, loss = self.network.readout, self.config.loss
        self.envelopes = {g.name: readout.envelope(g.batch.distance) for g in self.data["train"]}
        self.traces: dict[str, tuple[TraceLabels, TraceLabels]] = {}
        if self._uses_traces:
            self.traces = {g.name: trace_labels(self.network, g, loss.trace_label) for g in self.data["train"]}
        self.states: dict[str, BlochStates] = {}
        self.references = [BandReference(g.sample) for g in self.data["validation"][: self.config.validate_bands]]

    @property
    def _uses_traces(self) -> bool:
        return self.config.network.tracegrad.decoder and self.config.loss.trace_weight > 0

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.config.schedule.epochs * self.steps_per_epoch

    # -- the loop ----------------------------------------------------------------------------------

    def run(self, *, progress: bool = True) -> HamiltonianNetwork:
        """Train to the last epoch, saving the state after each validation. ValueError if the folder holds a run not resumed."""
        if self.epoch == 0 and (self.out / STATE_FILE).exists():
            raise ValueError(f"{self.out} holds another run: continue it with --resume, or choose another 'out'")
        self.out.mkdir(parents=True, exist_ok=True)
        _write_atomically(self.out / "config.json", json.dumps(config_to_dict(self.config), indent=1).encode())
        log.info("%d parameters, %d training structures", count_parameters(self.network), len(self.data["train"]))
        if self.epoch == 0:
            (self.out / LOG_FILE).unlink(missing_ok=True)  # of an earlier run that is not resumed
        epochs, name = self.config.schedule.epochs, self.config.card.name
        with tqdm(total=epochs, initial=self.epoch, desc=name, unit="epoch", disable=None if progress else True) as bar:
            while self.epoch < epochs:
                start = time.process_time()
                losses = self._run_epoch()
                self.epoch += 1
                self.seconds += time.process_time() - start
                if self.epoch % self.config.validate_every == 0 or self.epoch == epochs:
                    figures = self.evaluate(self.data["validation"], self.references)
                    self._watch_plateau(figures["mae_all"])
                    self._append_log({"epoch": self.epoch, "cpu_seconds": round(self.seconds, 1), **losses, **figures})
                    self.save_state()
                    bar.set_postfix({k: f"{figures[k]:.3f}" for k in ("mae_all", "mae_onsite", "band_rmse") if k in figures})
                bar.update()
        return self.average

    def _run_epoch(self) -> dict[str, float]:
        self.network.train()
        size = self.config.optimizer.batch_size
        order = torch.randperm(len(self.data["train"]), generator=self.order).tolist()
        sums = {"loss": 0.0, "trace_loss": 0.0, "band_loss": 0.0}
        for first in range(0, len(order), size):
            self._set_learning_rate()
            self.optimizer.zero_grad(set_to_none=True)
            chosen = order[first : first + size]
            for k in chosen:
                total, parts = self._loss(self.data["train"][k])
                (total / len(chosen)).backward()
                for name, value in parts.items():
                    sums[name] += value / len(order)
            self._clip_gradients()
            self.optimizer.step()
            self.step += 1
            self._update_average()
        return sums

    def _loss(self, graph: LabelledGraph) -> tuple[Tensor, dict[str, float]]:
        loss, envelope = self.config.loss, self.envelopes[graph.name]
        prediction = self.network(graph.batch, with_traces=self._uses_traces)
        elements = element_loss(prediction, graph, envelope, loss.onsite_weight, loss.elements)
        total, parts = elements, {"loss": elements.item()}
        done = self.step / self.total_steps
        # Both extra losses are weighted relative to the element loss, so their units do not matter.
        if self._uses_traces:
            trace = trace_loss(prediction, self.traces[graph.name])
            weight = loss.trace_weight * (0.5 * (1 + math.cos(math.pi * done)) if loss.trace_decay else 1.0)
            total = total + weight * (elements / trace).detach() * trace
            parts["trace_loss"] = trace.item()
        if loss.band_weight > 0 and done >= loss.band_start:
            states = self._bloch_states(graph)
            pick = int(torch.randint(len(states.coefficients), (1,), generator=self.order))
            bands = band_loss(prediction, graph, envelope, states, pick)
            total = total + loss.band_weight * (elements / bands).detach() * bands
            parts["band_loss"] = bands.item()
        return total, parts

    def _bloch_states(self, graph: LabelledGraph) -> BlochStates:
        if graph.name not in self.states:
            loss = self.config.loss
            seed = [self.config.seed, zlib.crc32(graph.name.encode())]  # other k-points for every structure
            index = self.network.shells.padded_index(graph.sample.structure.numbers)
            self.states[graph.name] = make_bloch_states(graph, index, loss.band_kpts, loss.band_above_fermi, seed)
        return self.states[graph.name]

    # -- optimisation ------------------------------------------------------------------------------

    def _set_learning_rate(self):
        o, s = self.config.optimizer, self.config.schedule
        if s.kind == "plateau":
            rate = o.learning_rate * self.plateau["factor"]
        else:
            done, warmup = self.step / self.total_steps, max(s.warmup, 1e-9)
            if done < warmup:
                rate = o.learning_rate * (0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * done / warmup)))
            else:
                fraction = (done - warmup) / (1 - warmup)
                rate = o.learning_rate * (s.final + (1 - s.final) * 0.5 * (1 + math.cos(math.pi * fraction)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _clip_gradients(self):
        """Clip at a multiple of the running norm: a fixed limit is too loose late in the run."""
        limit = self.config.optimizer.clip * self.running_norm if self.running_norm else math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self.network.parameters(), limit))
        if not math.isfinite(norm):
            raise FloatingPointError(f"the gradient is not finite at step {self.step}: lower optimizer.learning_rate")
        self.running_norm = 0.98 * self.running_norm + 0.02 * min(norm, 3 * self.running_norm) if self.running_norm else norm

    @torch.no_grad()
    def _update_average(self):
        decay = min(self.config.optimizer.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)

    def _watch_plateau(self, error: float):
        if error < self.plateau["best"]:
            self.plateau.update(best=error, waited=0)
            return
        self.plateau["waited"] += 1
        if self.plateau["waited"] > self.config.schedule.patience:
            self.plateau.update(factor=self.plateau["factor"] * self.config.schedule.factor, waited=0)

    # -- evaluation and state ----------------------------------------------------------------------

    @torch.inference_mode()
    def evaluate(self, graphs: list[LabelledGraph], references: list[BandReference]) -> dict[str, float]:
        """Figures of the averaged network on labelled graphs; bands for the first len(references) of them."""
        self.average.eval()
        elements, bands = [], []
        for k, graph in enumerate(graphs):
            prediction = self.average(graph.batch)
            sample = graph.sample
            (matrix,) = assemble(self.average, [graph.graph], graph.batch, prediction, sample.basis, [sample.overlap])
            elements.append(hamiltonian_error(matrix, graph.sample))
            if k < len(references):
                bands.append(references[k].error(matrix, elements[-1]))
        return pool_errors(elements, bands)

    def save_state(self):
        """Write everything a resumed run needs, atomically."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "order": self.order.get_state(),
            "epoch": self.epoch,
            "step": self.step,
            "running_norm": self.running_norm,
            "plateau": self.plateau,
            "seconds": self.seconds,
            "labels": self._labels_hash(),
            "config": json.dumps(config_to_dict(self.config)),
        }
        part = self.out / (STATE_FILE + ".part")
        torch.save(state, part)
        os.replace(part, self.out / STATE_FILE)

    def resume(self):
        """Continue from state.pt; refuses a state written with other settings."""
        path = self.out / STATE_FILE
        if not path.is_file():
            raise FileNotFoundError(f"nothing to resume: no {path}")
        try:
            state = torch.load(path, weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise ValueError(f"{path} is damaged, start the run anew: {error}") from error
        self._require_same_run(state, path)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.order.set_state(state["order"])
        self.epoch, self.step, self.running_norm = state["epoch"], state["step"], state["running_norm"]
        self.plateau, self.seconds = state["plateau"], state["seconds"]
        self._truncate_log()

    def _labels_hash(self) -> str:
        return labels_hash(self.data["train"] + self.data["validation"])

    def _require_same_run(self, state: dict, path: Path):
        before, now = _flatten(json.loads(state["config"])), _flatten(config_to_dict(self.config))
        moved = ("data", "out")  # folders may move; the labels themselves are compared
        changed = [key for key in sorted(before | now) if key not in moved and before.get(key) != now.get(key)]
        if changed:
            listed = "; ".join(f"{key} = {before.get(key)!r} (now {now.get(key)!r})" for key in changed)
            raise ValueError(f"{path} was written with other settings: {listed}. Use the same configuration, or another 'out'")
        if state["labels"] != self._labels_hash():
            raise ValueError(f"{path} was trained on other labels than {self.config.data} holds now: start anew in another 'out'")

    def _append_log(self, row: dict):
        path = self.out / LOG_FILE
        new = not path.exists()
        with open(path, "a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)

    def _truncate_log(self):
        """Drop rows written after the state that is resumed, so that no epoch stands twice."""
        path = self.out / LOG_FILE
        if path.exists():
            lines = path.read_text().splitlines()
            kept = lines[:1] + [line for line in lines[1:] if int(line.split(",")[0]) <= self.epoch]
            _write_atomically(path, ("\n".join(kept) + "\n").encode())


def _flatten(config: dict, prefix: str = "") -> dict:
    flat: dict = {}
    for key, value in config.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _write_atomically(path: Path, content: bytes):
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)
