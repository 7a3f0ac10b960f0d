"""load_deeph_e3: the converted network gives what the tensor products of the original give."""

import json
import os

import numpy as np
import pytest
import torch

from ase_tracegrad.nn.checkpoint import save_checkpoint
from ase_tracegrad.nn.checkpoint_header import CheckpointError
from ase_tracegrad.nn.deeph_e3_checkpoint import OLD_SIGNS, load_deeph_e3
from ase_tracegrad.nn.predictor import load_model
from ase_tracegrad.structure import Structure
from tests.nn.deeph_e3_twin import Twin, decompose, give_life, simplified, to_blocks, to_spinor_blocks
from tests.nn.synthetic import make_basis

REACH = {1: 1.4, 6: 1.9}
ORBITALS = {1: [0, 0, 1], 6: [0, 1, 0, 2]}
NATURAL = "1x0e+1x1o+1x2e+1x3o+1x4e"


@pytest.fixture(scope="module", autouse=True)
def double_constants():
    """e3nn builds its constants in torch's default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="module")
def hydrocarbon_model():
    """(twin, its outputs, its state dict) for hydrogen and carbon, built once: e3nn takes its time."""
    targets = find_targets((1, 6))
    twin = make_twin(make_settings((1, 6), targets))
    return twin, targets, twin.state_dict()


def find_targets(elements) -> list[dict[str, list[int]]]:
    """Outputs as the original numbers them: the k-th shell of an l of all elements shares them."""

    def name(z, k):
        return ORBITALS[z][k], ORBITALS[z][:k].count(ORBITALS[z][k])

    targets: dict = {}
    for a in elements:
        for b in elements:
            for i in range(len(ORBITALS[a])):
                for j in range(len(ORBITALS[b])):
                    targets.setdefault((name(a, i), name(b, j)), {})[f"{a} {b}"] = [i, j]
    return list(targets.values())


def shell_pairs(targets) -> list[tuple[int, int]]:
    pairs = []
    for target in targets:
        (name, (i, j)), *_ = target.items()
        a, b = map(int, name.split())
        pairs.append((ORBITALS[a][i], ORBITALS[b][j]))
    return pairs


def make_settings(elements, targets, *, hidden="5x0e+3x1o+2x2e+2x3o+2x4e", post_node="", spinful=False) -> dict:
    out = decompose(shell_pairs(targets), spinful=spinful)
    return {
        "num_species": len(elements),
        "irreps_embed_node": "6x0e",
        "irreps_edge_init": "6x0e",
        "irreps_sh": NATURAL,
        "irreps_mid_node": hidden,
        "irreps_post_node": post_node or hidden,
        "irreps_out_node": "1x0e",
        "irreps_mid_edge": hidden,
        "irreps_post_edge": simplified(out),
        "irreps_out_edge": out,
        "num_block": 2,
        "r_max": 4.0,
        "num_basis": 12,
        "use_sc": True,
        "no_parity": False,
        "use_sbf": False,
        "only_ij": False,
        "if_sort_irreps": False,
    }


def write_folder(folder, settings, state, elements, targets, *, spinful=False):
    """The files of a training of the original."""
    source = folder / "src"
    source.mkdir(parents=True, exist_ok=True)
    arguments = "".join(f"    {name}={value!r},\n" for name, value in settings.items())
    (source / "build_model.py").write_text(f"from deephe3_1 import Net\nnet = Net(\n{arguments})\n")
    info = {"spinful": spinful, "index_to_Z": list(elements), "orbital_types": [ORBITALS[z] for z in elements]}
    (source / "dataset_info.json").write_text(json.dumps(info))
    (source / "target_blocks.json").write_text(json.dumps(targets))
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))]).state_dict()
    torch.save({"epoch": 3, "val_loss": 0.1, "state_dict": state, "optimizer_state_dict": optimizer}, folder / "best_model.pkl")
    return folder


def make_twin(settings, normalization="element") -> Twin:
    torch.manual_seed(0)
    twin = Twin(settings, normalization)
    give_life(twin)
    return twin


def predict_with_twin(twin, graph, elements, targets, flipped=frozenset()) -> dict:
    """{(i, j, R): block} in eV, the Hermitian part, of a network of the original."""
    species = torch.tensor([list(elements).index(z) for z in graph.structure.numbers])
    with torch.no_grad():
        output = twin(species, torch.from_numpy(graph.pairs), torch.from_numpy(graph.vectors), torch.zeros(len(species)))
    pieces = to_blocks(output, shell_pairs(targets), flipped)
    raw = []
    for row, (i, j) in enumerate(graph.pairs):
        a, b = graph.structure.numbers[[i, j]].tolist()
        starts = [np.cumsum([0] + [2 * l + 1 for l in ORBITALS[z]]) for z in (a, b)]
        block = np.full((starts[0][-1], starts[1][-1]), np.nan)
        for target, piece in zip(targets, pieces, strict=True):
            if f"{a} {b}" in target:
                k, m = target[f"{a} {b}"]
                block[starts[0][k] : starts[0][k + 1], starts[1][m] : starts[1][m + 1]] = piece[row]
        raw.append(block)
    keys = [(int(i), int(j), tuple(shift.tolist())) for (i, j), shift in zip(graph.pairs, graph.shifts, strict=True)]
    return {key: 0.5 * (raw[row] + raw[graph.reverse[row]].T) for row, key in enumerate(keys)}


def largest_difference(predictor, structure, expected) -> float:
    found = dict(predictor.predict([structure])[0].items())
    assert found.keys() == expected.keys()
    assert max(np.abs(block).max() for block in expected.values()) > 0.1
    return max(np.abs(found[key] - block).max() for key, block in expected.items())


def test_equals_the_tensor_products(tmp_path, hydrocarbon, hydrocarbon_model):
    """Two elements, blocks up to d-d, pairs that end at the sum of two reaches, made with e3nn >= 0.5."""
    twin, targets, state = hydrocarbon_model
    folder = write_folder(tmp_path / "run", make_settings((1, 6), targets), state, (1, 6), targets)
    predictor = load_deeph_e3(folder, make_basis((1, 6)), reach=REACH)
    graph = predictor.graph(hydrocarbon)
    assert len(graph.pairs) > 20
    assert largest_difference(predictor, hydrocarbon, predict_with_twin(twin, graph, (1, 6), targets)) < 1e-10


def test_equals_the_tensor_products_of_the_published_e3nn(tmp_path, hydrocarbon):
    """As e3nn 0.3.5 normalises paths, names graphs and chooses signs."""
    targets = find_targets((6,))
    settings = make_settings((6,), targets)
    twin = make_twin(settings, "path")
    folder = write_folder(tmp_path / "run", settings, with_old_signs(twin), (6,), targets)
    predictor, carbon = load_deeph_e3(folder, make_basis((6,)), reach=REACH), carbon_of(hydrocarbon)
    expected = predict_with_twin(twin, predictor.graph(carbon), (6,), targets, flipped=OLD_SIGNS)
    assert largest_difference(predictor, carbon, expected) < 1e-10


def carbon_of(hydrocarbon) -> Structure:
    return Structure([6, 6], hydrocarbon.positions[:2], hydrocarbon.cell, hydrocarbon.pbc)


def with_old_signs(twin) -> dict:
    """State dict of an old e3nn whose features are those of the twin: where a symbol changes its sign, so does the weight."""
    state, changed = dict(twin.state_dict()), 0
    for name, value in list(state.items()):
        if "_w3j_" in name:
            degrees = tuple(sorted(map(int, name.rpartition("_w3j_")[2].split("_"))))
            state.pop(name)
            old = name.replace("_compiled_main_left_right", "_compiled_main_out")
            state[old] = -value if degrees in OLD_SIGNS else value
    for kind in ("node", "edge"):
        for number, update in enumerate(getattr(twin, f"{kind}_update_blocks")):
            product = update.conv.tp.tp
            irreps = product.irreps_in1, product.irreps_in2, product.irreps_out
            for k, ins in enumerate(product.instructions):
                degrees = sorted(part[n].ir.l for part, n in zip(irreps, (ins.i_in1, ins.i_in2, ins.i_out), strict=True))
                if tuple(degrees) in OLD_SIGNS:
                    name = f"{kind}_update_blocks.{number}.conv.tp.weights1.{k}"
                    state[name], changed = -state[name], changed + 1
    assert changed
    return state


def test_pseudo_irreps_among_the_hidden_ones(tmp_path, hydrocarbon):
    """0o goes through tanh and has no gate; irreps in an unusual order."""
    targets = find_targets((6,))
    settings = make_settings((6,), targets, hidden="3x1o+5x0e+2x0o+2x2e+2x1e+1x2o")
    twin = make_twin(settings)
    folder = write_folder(tmp_path / "run", settings, twin.state_dict(), (6,), targets)
    predictor, carbon = load_deeph_e3(folder, make_basis((6,)), reach=REACH), carbon_of(hydrocarbon)
    expected = predict_with_twin(twin, predictor.graph(carbon), (6,), targets)
    assert largest_difference(predictor, carbon, expected) < 1e-10


def test_spin_orbit_coupling(tmp_path, hydrocarbon):
    """The part of the complex blocks that is Hermitian and symmetric under time reversal; 0o among the outputs."""
    targets = find_targets((1,))
    settings = make_settings((1,), targets, hidden="5x0e+3x1o+2x2e", post_node="5x0e+3x1o+2x2e+3x1e", spinful=True)
    twin = make_twin(settings)
    folder = write_folder(tmp_path / "run", settings, twin.state_dict(), (1,), targets, spinful=True)
    predictor = load_deeph_e3(folder, make_basis((1,)), reach={1: 1.8})
    hydrogen = Structure([1, 1], hydrocarbon.positions[:2], hydrocarbon.cell, hydrocarbon.pbc)
    graph = predictor.graph(hydrogen)
    with torch.no_grad():
        output = twin(
            torch.zeros(2, dtype=torch.long), torch.from_numpy(graph.pairs), torch.from_numpy(graph.vectors), torch.zeros(2)
        )
    n, starts = 5, np.cumsum([0] + [2 * l + 1 for l in ORBITALS[1]])
    raw = np.zeros((len(graph.pairs), 2, n, 2, n), dtype=complex)
    for target, block in zip(targets, to_spinor_blocks(output, shell_pairs(targets)), strict=True):
        i, j = target["1 1"]
        raw[:, :, starts[i] : starts[i + 1], :, starts[j] : starts[j + 1]] = block.numpy()
    flip = np.array([[0, 1], [-1, 0]])  # i sigma_y
    raw = 0.5 * (raw + np.einsum("ij,ejakb,kl->eialb", flip, raw.conj(), flip.T))
    raw = 0.5 * (raw + raw[graph.reverse].conj().transpose(0, 3, 4, 1, 2))
    keys = [(int(i), int(j), tuple(shift.tolist())) for (i, j), shift in zip(graph.pairs, graph.shifts, strict=True)]
    expected = {key: block.reshape(2 * n, 2 * n) for key, block in zip(keys, raw, strict=True)}
    assert max(np.abs(block.imag).max() for block in expected.values()) > 0.1
    assert largest_difference(predictor, hydrogen, expected) < 1e-10


def test_single_precision_and_our_own_file(tmp_path, hydrocarbon, hydrocarbon_model):
    """The precision of the training is kept; saved as our model, it gives the same blocks."""
    twin, targets, state = hydrocarbon_model
    state = {name: value.float() for name, value in state.items()}
    folder = write_folder(tmp_path / "run", make_settings((1, 6), targets), state, (1, 6), targets)
    predictor = load_deeph_e3(folder, make_basis((1, 6)), reach=REACH)
    assert predictor.dtype == "float32"
    expected = predict_with_twin(twin, predictor.graph(hydrocarbon), (1, 6), targets)
    assert largest_difference(predictor, hydrocarbon, expected) < 1e-4
    save_checkpoint(tmp_path / "model.tgh", predictor.network, predictor.basis, predictor.card)
    again = load_model(tmp_path / "model.tgh").predict([hydrocarbon])[0]
    assert np.array_equal(again.values, predictor.predict([hydrocarbon])[0].values)


def test_reach_of_the_basis_is_the_default(tmp_path, hydrocarbon_model):
    _, targets, state = hydrocarbon_model
    folder = write_folder(tmp_path / "run", make_settings((1, 6), targets), state, (1, 6), targets)
    with pytest.raises(ValueError, match="reach is unknown"):
        load_deeph_e3(folder, make_basis((1, 6)))


def change_settings(**changes):
    return lambda folder, state, targets: write_folder(folder, make_settings((1, 6), targets) | changes, state, (1, 6), targets)


def change_state(change):
    def write(folder, state, targets):
        change(state)
        write_folder(folder, make_settings((1, 6), targets), state, (1, 6), targets)

    return write


def write_text(name, text):
    return lambda folder, state, targets: (folder / "src" / name).write_text(text)


BROKEN = {
    "parity ignored": (change_settings(no_parity=True), "no_parity = True is not supported"),
    "Bessel functions": (change_settings(use_sbf=True), "use_sbf = True is not supported"),
    "two hidden": (change_settings(irreps_mid_edge="5x0e"), "irreps_mid_node and irreps_mid_edge differ"),
    "irrep twice": (change_settings(irreps_mid_node="2x0e+1x1o+2x0e"), "list an irrep twice"),
    "harmonics": (change_settings(irreps_sh="2x0e+1x1o"), "must hold each harmonic once"),
    "no range": (write_text("build_model.py", "net = Net(num_block=3, num_species=2)"), "does not give irreps_embed_node"),
    "no elements": (write_text("dataset_info.json", '{"spinful": false}'), "dataset_info.json does not give index_to_Z"),
    "another range": (change_settings(r_max=5.0), "basis.offsets are not 12 equidistant centres from 0 to 5.0 Angstrom"),
    "other sizes": (change_settings(irreps_mid_node="6x0e+3x1o", irreps_mid_edge="6x0e+3x1o"), "does not fit|expected"),
    "not a call": (write_text("build_model.py", "import os\nos.system('true')\n"), "expected the call Net"),
    "not literals": (write_text("build_model.py", "net = Net(num_block=open('x').read())\n"), "expected the call Net"),
    "not json": (write_text("target_blocks.json", "{"), "not valid JSON"),
    "another basis": (
        write_text("dataset_info.json", '{"spinful": false, "index_to_Z": [1, 6], "orbital_types": [[0, 0, 1], [0, 0, 1, 2]]}'),
        "pass the basis of the labels",
    ),
    "part of H": (write_text("target_blocks.json", '[{"6 6": [0, 0]}]'), "only a part of H: no H-H block"),
    "missing": (change_state(lambda state: state.pop("lin_edge.bias")), "has no lin_edge.bias"),
    "unknown": (change_state(lambda state: state.update({"attention.weight": torch.ones(1)})), "does not know: attention.weight"),
    "symbols": (
        change_state(lambda state: [value.mul_(-1) for name, value in state.items() if name.endswith("_w3j_1_1_2")]),
        "unknown signs of the Wigner 3j symbols 1_1_2",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_converted_is_named(tmp_path, hydrocarbon_model, case):
    _, targets, state = hydrocarbon_model
    folder = write_folder(tmp_path / "run", make_settings((1, 6), targets), state, (1, 6), targets)
    write, message = BROKEN[case]
    write(folder, {name: value.clone() for name, value in state.items()}, targets)
    with pytest.raises(CheckpointError, match=message):
        load_deeph_e3(folder, make_basis((1, 6)), reach=REACH)


def test_nothing_in_the_files_is_executed(tmp_path, hydrocarbon_model):
    _, targets, state = hydrocarbon_model
    folder = write_folder(tmp_path / "run", make_settings((1, 6), targets), state, (1, 6), targets)
    torch.save({"state_dict": state, "extra": Intruder(tmp_path / "harm")}, folder / "best_model.pkl")
    with pytest.raises(CheckpointError, match="not a checkpoint that can be read safely"):
        load_deeph_e3(folder, make_basis((1, 6)), reach=REACH)
    assert not (tmp_path / "harm").exists()


class Intruder:
    """Pickles to a call."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_no_such_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected the output folder of a DeepH-E3 training"):
        load_deeph_e3(tmp_path, make_basis((1, 6)), reach=REACH)
