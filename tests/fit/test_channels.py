import torch

from ase_tracegrad.fit.channels import flatten_distance
from ase_tracegrad.fit.dataset import label_graph
from ase_tracegrad.fit.targets import fit_standardization
from tests.fit.cases import make_network, make_sample


def test_every_irrep_is_in_units_of_its_spread():
    """The standardised labels of each irrep and pair of elements have a mean square of one, and the unit is a number."""
    network = make_network()
    graphs = [label_graph(str(seed), make_sample(seed), network, torch.float64) for seed in range(3)]
    fit_standardization(network, graphs)
    onsite = network.readout.onsite_spread.clone()
    flatten_distance(network, graphs)
    readout, piece = network.readout, network.shells.components["piece"]
    assert torch.equal(readout.onsite_spread, onsite)
    assert (readout.baseline == 0).all()
    assert (readout.spread == readout.spread[:, :1]).all()
    y, types = [], []
    for g in graphs:
        baseline, spread = readout.statistics(g.batch)
        assert (baseline == 0).all()
        y.append(readout.couple_offsite(g.offsite, g.batch) / spread)
        types.append(g.batch.species[g.batch.receiver] * 2 + g.batch.species[g.batch.sender])
    y, types = torch.cat(y), torch.cat(types)
    for t in types.unique():
        for p in piece.unique():
            mean_square = y[types == t][:, piece == p].square().mean()
            # Irreps that are zero, because hydrogen has no p, stay zero.
            assert torch.isclose(mean_square, torch.tensor(1.0, dtype=torch.float64), rtol=1e-6) or mean_square < 1e-6
