"""From pair and atom features to blocks: standardised coupled irreps -> eV -> common axes -> Hermitian blocks.

The network predicts deviations from a two-centre baseline in units of their spread (both fitted once to
the training data, see fit/targets.py): in the frame of the pair,
    coupled(d) = baseline(d) + spread(d) * y,  baseline only for natural M = 0 irreps,
which is exactly what rotation symmetry allows two isolated centres.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .batch import GraphBatch
from .coupling import CommonShells
from .irreps import Rows
from .radial import gaussian_basis, polynomial_envelope
from .spin import transpose_components

N_TABLE = 48  # points of the distance tables
TABLE_START = 0.8  # Angstrom


class BlockReadout(nn.Module):
    """Tables of the baseline and the spread, and the transformations between irreps and blocks.

    reach: Angstrom of each element; the blocks of a pair end at the sum of two. Tables are per ordered pair of elements
    (t = s_i * n_elements + s_j) or per element, up to the common cutoff. A block is C real numbers:
    (U, U), or (4, U, U) for spinors (see spin.py), here (..., U, U).
    """

    coupling: Tensor
    reach: Tensor
    baseline: Tensor
    spread: Tensor
    onsite_mean: Tensor
    onsite_spread: Tensor

    def __init__(self, shells: CommonShells, reach: Sequence[float], cutoff: float, cutoff_width: float):
        super().__init__()
        self.shells, self.n_elements = shells, len(reach)
        self.cutoff, self.cutoff_width = cutoff, cutoff_width
        n_elements = self.n_elements
        self.register_buffer("reach", torch.tensor(reach, dtype=torch.float64), persistent=False)
        n = shells.n_components
        self.register_buffer("coupling", shells.coupling, persistent=False)
        self.register_buffer("baseline", torch.zeros(n_elements**2, N_TABLE, n))
        self.register_buffer("spread", torch.ones(n_elements**2, N_TABLE, n))
        self.register_buffer("onsite_mean", torch.zeros(n_elements, n))
        self.register_buffer("onsite_spread", torch.ones(n_elements, n))

    def distance_basis(self, distance: Tensor) -> Tensor:
        """(E, N_TABLE) Gaussians the tables are expanded in."""
        return gaussian_basis(distance, TABLE_START, self.cutoff, N_TABLE)

    def statistics(self, batch: GraphBatch) -> tuple[Tensor, Tensor]:
        """Baseline and spread of every pair, (E, C) each, eV."""
        pair_type = batch.species[batch.receiver] * self.n_elements + batch.species[batch.sender]
        phi = self.distance_basis(batch.distance)
        share = phi / phi.sum(1, keepdim=True)
        if self.n_elements == 1:
            return phi @ self.baseline[0], share @ self.spread[0]
        return apply_tables(phi, pair_type, self.baseline), apply_tables(share, pair_type, self.spread)

    def envelope(self, batch: GraphBatch) -> Tensor:
        """Smooth end of the blocks of every pair, (E,); 1 for a cutoff_width of 0."""
        return self.end_smoothly(
            batch.distance, self.reach[batch.species[batch.receiver]] + self.reach[batch.species[batch.sender]]
        )

    def end_smoothly(self, distance: Tensor, end: Tensor | float) -> Tensor:
        """The envelope of pairs that end at ``end`` (Angstrom), (E,)."""
        if self.cutoff_width == 0:
            return torch.ones_like(distance)
        return polynomial_envelope(distance, end, self.cutoff_width)

    def offsite_blocks(self, rows: Rows, batch: GraphBatch) -> Tensor:
        """Blocks (E, ..., U, U) in eV from the coupled standardised rows in the frames of the pairs."""
        baseline, spread = self.statistics(batch)
        local = torch.cat([row.flatten(1) for row in rows], dim=1) * spread + baseline
        turned = rotate_out(self._split(local), batch.rotations)
        blocks = self._to_blocks(torch.cat([row.flatten(1) for row in turned], dim=1))
        return scale_blocks(self._hermitian_pairs(blocks, batch), self.envelope(batch))

    def onsite_blocks(self, rows: Rows, batch: GraphBatch) -> Tensor:
        """Blocks (N, ..., U, U) in eV from the coupled standardised rows of the atoms."""
        flat = torch.cat([row.flatten(1) for row in rows], dim=1)
        blocks = self._to_blocks(flat * self.onsite_spread[batch.species] + self.onsite_mean[batch.species])
        return self._hermitian_atoms(blocks)

    def add_refinement(
        self, offsite: Tensor, onsite: Tensor, change: Tensor, onsite_change: Tensor, batch: GraphBatch
    ) -> tuple[Tensor, Tensor]:
        """Blocks plus the Hermitian part of changes (E, C) and (N, C), given in common axes in units of the spread."""
        _, spread = self.statistics(batch)
        added = self._to_blocks(change * self._average_orders(spread))
        onsite_added = self._to_blocks(onsite_change * self.onsite_spread[batch.species])
        added, onsite_added = self.hermitian_part(added, onsite_added, batch)
        return offsite + scale_blocks(added, self.envelope(batch)), onsite + onsite_added

    def hermitian_part(self, offsite: Tensor, onsite: Tensor, batch: GraphBatch) -> tuple[Tensor, Tensor]:
        """Blocks (E, ..., U, U) and (N, ..., U, U) that are Hermitian to rounding, made so to the last digit."""
        return self._hermitian_pairs(offsite, batch), self._hermitian_atoms(onsite)

    def _hermitian_pairs(self, blocks: Tensor, batch: GraphBatch) -> Tensor:
        return 0.5 * (blocks + self._adjoint(blocks.index_select(0, batch.reverse)))

    def _hermitian_atoms(self, blocks: Tensor) -> Tensor:
        return 0.5 * (blocks + self._adjoint(blocks))

    def _average_orders(self, spread: Tensor) -> Tensor:
        """The spread (E, C) of each irrep as a whole: in common axes its orders mix."""
        rows = (row.square().mean(1, keepdim=True).sqrt().expand_as(row) for row in self._split(spread))
        return torch.cat([row.flatten(1) for row in rows], dim=1)

    def couple_offsite(self, blocks: Tensor, batch: GraphBatch) -> Tensor:
        """Coupled components of blocks in the frames of the pairs, (E, C) eV: the inverse of the above."""
        rows = self._split(blocks.flatten(1) @ self.coupling.T)
        local = [row if l == 0 else torch.bmm(batch.rotations[l].transpose(1, 2), row) for l, row in enumerate(rows)]
        return torch.cat([row.flatten(1) for row in local], dim=1)

    def couple_onsite(self, blocks: Tensor) -> Tensor:
        """Coupled components of on-site blocks, (N, C) eV."""
        return blocks.flatten(1) @ self.coupling.T

    def standardize(self, offsite: Tensor, onsite: Tensor, batch: GraphBatch) -> tuple[Rows, Rows]:
        """Rows in units of the spread, off-site in the frames of the pairs: what ``*_blocks`` make blocks (eV) of."""
        baseline, spread = self.statistics(batch)
        envelope = self.envelope(batch)[:, None]
        pairs = (self.couple_offsite(offsite, batch) - baseline) / spread * envelope
        atoms = (self.couple_onsite(onsite) - self.onsite_mean[batch.species]) / self.onsite_spread[batch.species]
        return self._split(pairs), self._split(atoms)

    def _to_blocks(self, flat: Tensor) -> Tensor:
        return (flat @ self.coupling).view(-1, *self.shells.block_shape)

    def _adjoint(self, blocks: Tensor) -> Tensor:
        return transpose_components(blocks) if self.shells.spinor else blocks.transpose(1, 2)

    def _split(self, flat: Tensor) -> Rows:
        counts = self.shells.channels.counts
        parts = flat.split([(2 * l + 1) * c for l, c in enumerate(counts)], dim=1)
        return [part.view(len(flat), 2 * l + 1, c) for l, (part, c) in enumerate(zip(parts, counts, strict=True))]


def apply_tables(rows: Tensor, kind: Tensor, tables: Tensor) -> Tensor:
    """rows[e] @ tables[kind[e]], (E, C), of rows (E, n), kind (E,) and tables (T, n, C)."""
    total = rows.new_zeros(len(rows), tables.shape[2])
    # Masks and not lists of rows: shapes that depend on the data would wait for a GPU and break torch.compile.
    for number, table in enumerate(tables):
        total = total + (rows * (kind == number)[:, None]) @ table
    return total


def scale_blocks(blocks: Tensor, factors: Tensor) -> Tensor:
    """Blocks (E, ..., U, U) times one number each, factors (E,)."""
    return (blocks.flatten(1) * factors[:, None]).view_as(blocks)


def rotate_out(rows: Rows, rotations: list[Tensor]) -> Rows:
    """Rows from the frames of the pairs to the common axes."""
    return [row if l == 0 else torch.bmm(rotations[l], row) for l, row in enumerate(rows)]
