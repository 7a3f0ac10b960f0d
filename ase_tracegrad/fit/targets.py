"""Standardisation of the targets, the two-centre baseline and the spread of what is left; and the trace labels."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..nn.network import HamiltonianNetwork
from ..nn.readout import N_TABLE, TABLE_START, BlockReadout
from .dataset import LabelledGraph

MIN_OFFSITE_SPREAD = 3e-4  # eV; below it there is only numerical noise of the labels
MIN_ONSITE_SPREAD = 1e-3  # eV
ROUGHNESS = 1e-2  # weight of the squared second differences of a table in its least squares: straight on where there are no data
RIDGE = 1e-4  # weight of its squares: zero far from all data
SMOOTHING = 0.12  # Angstrom, width of the window over which a spread is averaged
WIDE = 0.5  # Angstrom, width of a second window
FEW = 2.0  # pairs; the second window counts as so many


@dataclass(frozen=True)
class TraceLabels:
    """values (rows, P) of P shell pairs; mask (rows, P): 1 where both atoms have the shell, 0 for the padding."""

    values: Tensor
    mask: Tensor


@torch.no_grad()
def fit_standardization(network: HamiltonianNetwork, graphs: list[LabelledGraph]):
    """Fill the tables of ``network.readout`` from training data.

    Off-site, per ordered pair of elements: smooth regression of the natural M = 0 components on the distance
    basis, then the root mean square of the residual near each distance, shared by the components of a piece with equal |M|.
    On-site, per element: mean of the invariant components, root mean square of the residual per piece.
    All of it after the mean energy zero, if the network has one, was taken out of the labels.
    """
    if network.energy_zero is not None:
        network.energy_zero.moment.copy_(fit_moments(network, graphs))
    _fill_tables(network.readout, network, graphs, [local_blocks(network, g) for g in graphs])


@torch.no_grad()
def fit_reference(network: HamiltonianNetwork, graphs: list[LabelledGraph]):
    """Fill the tables in whose units a network sees the Hamiltonian of the initial density; nothing for other networks."""
    if network.reference_tables is not None:
        blocks = [(g.batch.offsite_reference, g.batch.onsite_reference) for g in graphs]
        _fill_tables(network.reference_tables, network, graphs, blocks)


def _fill_tables(readout: BlockReadout, network: HamiltonianNetwork, graphs: list[LabelledGraph], local: list):
    facts = network.shells.components
    n_elements = len(network.elements)
    distance = torch.cat([g.batch.distance for g in graphs]).double()
    coupled = torch.cat([readout.couple_offsite(b, g.batch) for (b, _), g in zip(local, graphs, strict=True)]).double()
    pair_type = torch.cat([g.batch.species[g.batch.receiver] * n_elements + g.batch.species[g.batch.sender] for g in graphs])
    grid = torch.linspace(TABLE_START, readout.cutoff, N_TABLE, dtype=torch.float64)
    group = facts["piece"] * 100 + facts["order"]
    for t in pair_type.unique().tolist():
        d, y = distance[pair_type == t], coupled[pair_type == t]
        phi = readout.distance_basis(d)
        baseline = torch.linalg.solve(phi.T @ phi + _prior(), phi.T @ y) * facts["two_centre"]
        near, wide = (torch.exp(-0.5 * ((d - grid[:, None]) / width) ** 2) + 1e-12 for width in (SMOOTHING, WIDE))
        squares, (n_near, n_wide) = (y - phi @ baseline).square(), (w.sum(1, keepdim=True) for w in (near, wide))
        variance = (near @ squares + FEW * (wide @ squares) / n_wide) / (n_near + FEW)
        spread = _average_groups(variance, group).sqrt().clamp_min(MIN_OFFSITE_SPREAD)
        readout.baseline[t].copy_(baseline)
        readout.spread[t].copy_(spread)
    onsite = torch.cat([readout.couple_onsite(b) for _, b in local]).double()
    species = torch.cat([g.batch.species for g in graphs])
    for s in species.unique().tolist():
        y = onsite[species == s]
        mean = y.mean(0) * facts["invariant"]
        variance = _average_groups((y - mean).square().mean(0, keepdim=True), facts["piece"])[0]
        readout.onsite_mean[s].copy_(mean)
        readout.onsite_spread[s].copy_(variance.sqrt().clamp_min(MIN_ONSITE_SPREAD))


@torch.no_grad()
def local_blocks(network: HamiltonianNetwork, graph: LabelledGraph) -> tuple[Tensor, Tensor]:
    """Off-site (E, ..., U, U) and on-site (N, ..., U, U) labels, eV, without the energy zero that volume and elements give."""
    if network.energy_zero is None:
        return graph.offsite, graph.onsite
    mu = network.energy_zero.average(graph.batch)
    return graph.offsite - mu * graph.offsite_overlap, graph.onsite - mu * graph.onsite_overlap


def fit_moments(network: HamiltonianNetwork, graphs: list[LabelledGraph]) -> Tensor:
    """Second moment q of each element, eV Angstrom^3, from structures that were labelled in cells of different volume.

    Equal surroundings give equal local blocks, so H of one cell less H of the other is
    (sum_z n_z q_z) (1 / Omega - 1 / Omega') S, whatever the local blocks are. Elements whose share never changes cannot be
    told apart; they get the smallest q that does it. ValueError if no structure was labelled in two cells: strain alone does
    not tell the volume's part of a change from the local one.
    """
    rows, values = [], []
    for number, one in enumerate(graphs):
        for other in graphs[:number]:
            if not _same_surroundings(one, other):
                continue
            density = float(one.batch.inverse_volume - other.batch.inverse_volume)
            if abs(density) <= 1e-3 * float(one.batch.inverse_volume):
                continue
            overlap = one.sample.overlap.with_spin(one.sample.hamiltonian.spin)
            change = one.sample.hamiltonian.restricted_to(overlap) - other.sample.hamiltonian.restricted_to(overlap)
            rows.append(density * np.bincount(one.batch.species.numpy(), minlength=len(network.elements)))
            values.append(change.inner(overlap) / overlap.inner(overlap))
    if not rows:
        raise ValueError(
            "energy_zero 'cell-average' needs at least one training structure that was labelled in two cells of different "
            "volume (more vacuum); found none. Add one, or set network.energy_zero to 'vacuum'"
        )
    return torch.from_numpy(np.linalg.lstsq(np.array(rows), np.array(values), rcond=1e-6)[0])


def _same_surroundings(one: LabelledGraph, other: LabelledGraph) -> bool:
    """The same atoms in the same order, at the same places to each other within the cut-off."""
    if not np.array_equal(one.sample.structure.numbers, other.sample.structure.numbers):
        return False
    if len(one.graph.pairs) != len(other.graph.pairs):
        return False
    first, second = (np.concatenate([g.graph.pairs, g.graph.shifts, g.graph.vectors], axis=1) for g in (one, other))
    first, second = (table[np.lexsort(table[:, :5].T)] for table in (first, second))
    return bool(np.abs(first - second).max() < 1e-6)


def _prior() -> Tensor:
    """What a table is where there are no data, as a quadratic form."""
    unit = torch.eye(N_TABLE, dtype=torch.float64)
    return ROUGHNESS * unit.diff(n=2, dim=0).T @ unit.diff(n=2, dim=0) + RIDGE * unit


def _average_groups(values: Tensor, group: Tensor) -> Tensor:
    """Columns of ``values`` replaced by the mean over the columns of their group."""
    out = torch.empty_like(values)
    for g in group.unique():
        out[:, group == g] = values[:, group == g].mean(1, keepdim=True)
    return out


@torch.no_grad()
def trace_labels(network: HamiltonianNetwork, graph: LabelledGraph, kind: str) -> tuple[TraceLabels, TraceLabels]:
    """T = tr(Q Q^dagger) of every shell pair, of the standardised labels, off-site (E, P) and on-site (N, P).

    The trace of a spinor block runs over the spin too: 2 |h_0|^2 + 2 |h|^2 with the matrices of nn/spin.py.
    kind: 'raw', 'log' (log(1 + T)) or 'layer-norm' (over the shell pairs of each atom pair, as the authors' code does).
    """
    readout, facts = network.readout, network.shells.components
    n_pairs = len(network.shells.shells) ** 2
    membership = torch.nn.functional.one_hot(facts["shell_pair"], n_pairs).to(graph.offsite.dtype)
    baseline, spread = readout.statistics(graph.batch)
    offsite_blocks, onsite_blocks = local_blocks(network, graph)
    offsite = (readout.couple_offsite(offsite_blocks, graph.batch) - baseline) / spread
    species = graph.batch.species
    onsite = (readout.couple_onsite(onsite_blocks) - readout.onsite_mean[species]) / readout.onsite_spread[species]
    present = torch.stack([torch.from_numpy(network.shells.shell_mask[z]) for z in network.elements]).to(offsite.dtype)
    receiver, sender = present[species[graph.batch.receiver]], present[species[graph.batch.sender]]
    masks = (
        (receiver[:, :, None] * sender[:, None, :]).flatten(1),
        (present[species][:, :, None] * present[species][:, None, :]).flatten(1),
    )
    labels = []
    spins = 2 if network.shells.spinor else 1
    for y, mask in zip((offsite, onsite), masks, strict=True):
        trace = spins * (y.square() @ membership) * mask
        if kind == "layer-norm":
            trace = _masked_layer_norm(trace, mask)
        elif kind == "log":
            trace = torch.log1p(trace)
        elif kind != "raw":
            raise ValueError(f"trace label must be raw, log or layer-norm, found {kind!r}")
        labels.append(TraceLabels(trace, mask))
    return labels[0], labels[1]


def _masked_layer_norm(values: Tensor, mask: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Layer norm over the present entries of each row; absent ones stay zero."""
    count = mask.sum(1, keepdim=True)
    mean = (values * mask).sum(1, keepdim=True) / count
    centred = (values - mean) * mask
    return centred / (centred.square().sum(1, keepdim=True) / count + epsilon).sqrt()
