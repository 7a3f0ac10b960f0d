"""Write the limits of the training data (ase_tracegrad/nn/domain.py) into the card of a model again, after their rule has changed.

    python training/renew_domain.py ase_tracegrad/models/mos2-pbe.safetensors training/data/mos2/mos2.h5

The weights stay. Data other than those of the card are refused. NAME.trust.json holds the hash of the model file and has to be made
anew: tracegrad screen calibrate.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from ase_tracegrad.io.store import StoreReader, content_hash
from ase_tracegrad.nn.checkpoint import load_checkpoint, save_checkpoint
from ase_tracegrad.nn.domain import describe_domain
from ase_tracegrad.nn.predictor import DTYPES, Predictor


def renew(model: Path, data: Path):
    """ValueError if the model was not trained on these data."""
    network, basis, card = load_checkpoint(model, DTYPES["float32"])
    predictor = Predictor(network, basis, card)
    with StoreReader(data) as store:
        if content_hash(store) != card.data_sha256:
            raise ValueError(f"{data} is not what {model} was trained on: expected sha256 {card.data_sha256}")
        graphs = (predictor.graph(store[name].structure) for name in store.names if store.split(name) == "train")
        domain = describe_domain(graphs, network.elements, network.config.cutoff)
    save_checkpoint(model, network, basis, replace(card, domain=domain))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    options = parser.parse_args()
    renew(options.model, options.data)
