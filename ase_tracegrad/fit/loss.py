"""Training losses: matrix elements, trace labels, and first-order errors of the bands. Energies in meV."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import eigh
from torch import Tensor

from ..electronic.threads import limit_blas_threads
from ..nn.network import Prediction
from ..nn.readout import scale_blocks
from ..nn.spin import from_components
from ..units import HARTREE
from .dataset import LabelledBatch, LabelledGraph
from .targets import TraceLabels

MEV = 1000.0


def element_errors(prediction: Prediction, graph: LabelledBatch, envelope: Tensor) -> tuple[Tensor, Tensor]:
    """Errors of H off-site (E, U, U) and on-site (N, U, U), meV; of spinors those of the matrices of nn/spin.py, (E, 4, U, U).

    The labels are multiplied by the envelope of the cut-off, so nothing has to be learned that the model cannot express.
    """
    offsite, onsite = graph.offsite, graph.onsite
    if prediction.energy_zero is not None:
        offsite = offsite - prediction.energy_zero * graph.offsite_overlap
        onsite = onsite - prediction.energy_zero * graph.onsite_overlap
    return (prediction.offsite - scale_blocks(offsite, envelope)) * MEV, (prediction.onsite - onsite) * MEV


def element_loss(prediction: Prediction, graph: LabelledBatch, envelope: Tensor, onsite_weight: float, kind: str) -> Tensor:
    """Mean absolute ('l1') or squared ('mse') error of the elements, meV or meV^2; on-site elements count onsite_weight times.

    'mse+l1': the sum of both in Hartree, the loss of QH9 (arXiv 2306.09549).
    For spinors it is the mean over the real and the imaginary parts of the elements that time reversal leaves.
    """
    offsite, onsite = element_errors(prediction, graph, envelope)
    count: int | Tensor = offsite.numel() + onsite.numel()
    if graph.offsite_mask is not None and graph.onsite_mask is not None:
        offsite, onsite = offsite * graph.offsite_mask, onsite * graph.onsite_mask
        count = graph.offsite_mask.sum() + graph.onsite_mask.sum()
    unit = HARTREE * MEV if kind == "mse+l1" else 1.0
    loss = offsite.new_zeros(())
    if kind != "mse":
        loss = loss + (offsite.abs().sum() + onsite_weight * onsite.abs().sum()) / count / unit
    if kind != "l1":
        loss = loss + (offsite.square().sum() + onsite_weight * onsite.square().sum()) / count / unit**2
    return loss


def trace_loss(prediction: Prediction, labels: tuple[TraceLabels, TraceLabels]) -> Tensor:
    """Mean absolute error of the trace labels of the shell pairs that exist."""
    offsite, onsite = labels
    if prediction.offsite_trace is None or prediction.onsite_trace is None:
        raise ValueError("this prediction holds no traces: call the network with with_traces=True and a trace decoder")
    error = ((prediction.offsite_trace - offsite.values) * offsite.mask).abs().sum()
    error = error + ((prediction.onsite_trace - onsite.values) * onsite.mask).abs().sum()
    return error / (offsite.mask.sum() + onsite.mask.sum())


@dataclass(frozen=True)
class BlochStates:
    """Eigenvectors of the labels at kpts (K, 3): phases (K, E) of the pairs, coefficients K x (N*U, n) over padded orbitals.

    For spinors 2 U orbitals of each atom, spin up first.
    """

    kpts: np.ndarray
    phases: Tensor
    coefficients: list[Tensor]


def make_bloch_states(graph: LabelledGraph, padded_index: np.ndarray, n_kpts: int, above_fermi: float, seed) -> BlochStates:
    """Eigenvectors at random k (in the periodic directions), up to above_fermi eV over the Fermi level.

    padded_index: positions of the structure's orbitals among the padded ones, see CommonShells.padded_index.
    """
    sample = graph.sample
    overlap = sample.overlap.with_spin(sample.hamiltonian.spin)
    kpts = np.random.default_rng(seed).random((n_kpts, 3)) * sample.structure.pbc
    shifts = graph.graph.shifts[graph.graph.n_onsite :][graph.batch.pair_order]
    size = graph.batch.n_atoms * sample.hamiltonian.n_spin * graph.onsite.shape[-1]
    coefficients = []
    for h, s in zip(sample.hamiltonian.bloch(kpts), overlap.bloch(kpts), strict=True):
        with limit_blas_threads(torch.get_num_threads()):  # more than training was given fight with other processes
            _, c = eigh(h, s, subset_by_value=(-np.inf, sample.info["fermi_level"] + above_fermi), driver="gvx")
        padded = np.zeros((size, c.shape[1]), dtype=np.complex64)
        padded[padded_index] = c
        coefficients.append(torch.from_numpy(padded))
    phases = torch.from_numpy(np.exp(2j * np.pi * kpts @ shifts.T).astype(np.complex64))
    return BlochStates(kpts, phases, coefficients)


def band_loss(prediction: Prediction, graph: LabelledGraph, envelope: Tensor, states: BlochStates, pick: int) -> Tensor:
    """Mean |<n|dH(k)|m>| over the label's states at one k, meV: first-order shifts (diagonal) and mixing."""
    errors = element_errors(prediction, graph, envelope)
    if graph.sample.hamiltonian.spin == "spinor":
        errors = from_components(errors[0]), from_components(errors[1])
    n, u = errors[1].shape[0], errors[1].shape[-1]
    offsite, onsite = (error.flatten(1).to(torch.complex64) for error in errors)
    dense = torch.zeros(n * n, u * u, dtype=torch.complex64, device=onsite.device)
    dense = dense.index_add(0, graph.batch.receiver * n + graph.batch.sender, offsite * states.phases[pick][:, None])
    dense = dense.index_add(0, torch.arange(n, device=onsite.device) * (n + 1), onsite)
    dense = dense.view(n, n, u, u).permute(0, 2, 1, 3).reshape(n * u, n * u)
    c = states.coefficients[pick]
    projected = c.conj().T @ dense @ c
    return torch.diagonal(projected).real.abs().mean() + torch.view_as_real(projected).abs().mean()
