"""NetworkConfig: everything that decides the architecture, read from YAML and stored in the checkpoint."""

import difflib
import math
from dataclasses import asdict, dataclass, field, fields
from reprlib import repr as shorten  # a few lines of YAML can stand for billions of entries
from types import UnionType
from typing import Any

from ..symbols import is_symbol, symbol_of

ENERGY_ZEROS = ("vacuum", "cell-average")
REFERENCES = ("none", "minao")
BACKBONES = ("fast", "deeph-e3", "qhnet")
KINDS = {int: "a whole number", bool: "true or false", str: "text", dict: "a mapping", float: "a number"}
FAST_ONLY = tuple("n_blocks embedding n_radial radial_hidden message_scale hidden edge_last node_last final_node_update".split())


class ConfigError(ValueError):
    """A configuration with an unknown key, a wrong type or an impossible value."""


class UnknownKeyError(ConfigError):
    """A key that this version of the program does not know."""


@dataclass(frozen=True)
class TraceGradConfig:
    """Where TraceGrad blocks stand and what they do.

    nodes, edges: after every node / pair update; gradient: add dz/df to the feature (False: the invariants only
    feed the trace decoder); decoder: predict the trace labels. Products per (l, parity) of c channels: rank 0, c of them,
    each channel with a learned mixture of all; rank r > 0, r (at most c) of two learned mixtures; full, all c^2 of the
    channels. hidden: width of the invariant MLP; invariants: number of z.
    """

    nodes: bool = True
    edges: bool = True
    gradient: bool = True
    decoder: bool = True
    rank: int = 0
    full: bool = False
    hidden: int = 64
    invariants: int = 32

    def __post_init__(self):
        if (self.nodes or self.edges) and not (self.gradient or self.decoder):
            raise ConfigError(
                "TraceGrad blocks with neither gradient nor decoder have no effect: set tracegrad.nodes and .edges to false"
            )


@dataclass(frozen=True)
class DeepHE3Config:
    """Architecture of the backbone 'deeph-e3'; the defaults are the published ones (arXiv 2210.13955 and its public code).

    hidden: irreps of atoms and pairs between blocks; edge_last, node_last: after the last block, '' for the published choice
    (the irreps of the blocks of H; hidden); filter_lmax: of the harmonics of the pairs; radial_cutoff: Angstrom, end of the
    n_radial Gaussians; norm: 'structure' (published: statistics over all atoms or pairs of a structure) or 'local' (of each).
    """

    hidden: str = "64x0e+32x1o+16x2e+8x3o+8x4e"
    edge_last: str = ""
    node_last: str = ""
    filter_lmax: int = 4
    n_blocks: int = 3
    embedding: int = 64
    n_radial: int = 128
    radial_cutoff: float = 7.2
    norm: str = "structure"

    def __post_init__(self):
        if self.norm not in ("structure", "local"):
            raise ConfigError(f"deeph_e3.norm must be 'structure' or 'local', found {self.norm!r}")
        for name in ("n_blocks", "embedding", "filter_lmax"):
            if getattr(self, name) < 1:
                raise ConfigError(f"deeph_e3.{name} must be at least 1, found {getattr(self, name)}")
        if self.n_radial < 2 or self.radial_cutoff <= 0:
            raise ConfigError("deeph_e3.n_radial must be at least 2 and deeph_e3.radial_cutoff positive")


@dataclass(frozen=True)
class HarmoSEConfig:
    """The second stage of HarmoSE, which refines the blocks of the backbone (see harmose.py).

    n_blocks: Transformer blocks, 0 for no second stage; sees: of stage 1 its 'features' (standardised, coupled, in common
    axes), the 'hamiltonian' (blocks in eV) or 'both'; harmonics_lmax: of the direction of a pair. The paper's text does not give
    these numbers; the authors' later code has a width of 256 and harmonics up to 7.
    """

    n_blocks: int = 0
    width: int = 128
    heads: int = 4
    sees: str = "features"
    harmonics_lmax: int = 4
    n_radial: int = 64

    def __post_init__(self):
        if self.sees not in ("features", "hamiltonian", "both"):
            raise ConfigError(f"harmose.sees must be 'features', 'hamiltonian' or 'both', found {self.sees!r}")
        if self.n_blocks < 0 or min(self.heads, self.harmonics_lmax) < 1 or self.n_radial < 2:
            raise ConfigError("harmose.n_blocks must be at least 0, heads and harmonics_lmax at least 1, n_radial at least 2")
        if self.width < 1 or self.width % self.heads:
            raise ConfigError(f"harmose.width must be a multiple of heads = {self.heads}, found {self.width}")


@dataclass(frozen=True)
class QHNetConfig:
    """Architecture of the backbone 'qhnet'; the defaults are those of its public code for QH9 (arXiv 2306.04922, 2306.09549).

    hidden: channels of every l = 0..lmax of the atoms, and of every irrep of the pairs; lmax: also of the harmonics;
    bottleneck: channels that are expanded into blocks; n_layers: of messages, on-site and pair features come from the last
    n_pair_layers of them; n_radial, radial_decay (1 / Angstrom, at the start): of the functions of the distance, which end at
    network.message_cutoff; message_hidden: width of the networks that weigh messages; normalize: products in units of their size
    on the training data (not published; without it pairs learn only after many thousand steps); overlap: the traces of the
    overlaps of two atoms beside the functions of their distance.
    """

    hidden: int = 128
    lmax: int = 4
    bottleneck: int = 32
    n_layers: int = 5
    n_pair_layers: int = 2
    n_radial: int = 16
    radial_decay: float = 0.5
    message_hidden: int = 32
    normalize: bool = False
    overlap: bool = False

    def __post_init__(self):
        for name in ("hidden", "lmax", "bottleneck", "n_layers", "n_pair_layers", "message_hidden"):
            if getattr(self, name) < 1:
                raise ConfigError(f"qhnet.{name} must be at least 1, found {getattr(self, name)}")
        if self.n_pair_layers > self.n_layers:
            raise ConfigError(f"qhnet.n_pair_layers must not exceed n_layers = {self.n_layers}, found {self.n_pair_layers}")
        if self.n_radial < 2 or self.radial_decay <= 0:
            raise ConfigError("qhnet.n_radial must be at least 2 and qhnet.radial_decay positive")


@dataclass(frozen=True)
class NetworkConfig:
    """Architecture of the O(2) network. Lengths in Angstrom.

    backbone: 'fast', 'deeph-e3' (settings in deeph_e3) or 'qhnet' (in qhnet); those from n_blocks to final_node_update belong
    to 'fast'.
    cutoff: atom pairs farther apart have no block; the blocks go to zero over the last cutoff_width (0: abruptly, as published;
    not for 'fast'). reach: {symbol: Angstrom}, if pairs end at the sum of two reaches, as orbitals do; {}: all at the cutoff.
    message_cutoff: pairs nearer than this pass messages to atoms; the others only get pair updates ('deeph-e3': all pass).
    hidden, edge_last, node_last: irreps of the features between blocks and after the last one.
    final_node_update: one more message from the last pair features into the atoms, for the on-site blocks.
    energy_zero: of the labels: 'vacuum' (molecules, localised Hartree solvers) or 'cell-average' (see energy_zero.py).
    reference: 'none', the network predicts H; 'minao', it predicts H less that of PySCF's initial density, which a prediction then
    needs (one Fock build, labels/initial_hamiltonian.py): the 'delta' model of molecules.
    sees_reference: atoms and pairs begin with the blocks of that Hamiltonian beside their elements and distance ('fast' only).
    overlap_floor: of molecules; what is predicted for combinations of orbitals whose overlap is smaller than this is left out
    (overlap_filter.py; 0: nothing). A prediction obeys it, the training does not.
    spinor: blocks are 2 x 2 in spin, with spin-orbit coupling and time reversal (see spin.py).
    """

    backbone: str = "fast"
    cutoff: float = 7.5
    cutoff_width: float = 0.4
    reach: dict = field(default_factory=dict)
    message_cutoff: float = 5.0
    n_blocks: int = 2
    embedding: int = 32
    n_radial: int = 64
    radial_hidden: int = 64
    message_scale: float = 3.0
    hidden: str = "32x0e+24x1o+16x2e+8x3o+4x4e"
    edge_last: str = "32x0e+24x1o+8x1e+20x2e+8x2o+12x3o+6x3e+8x4e"
    node_last: str = "48x0e+32x1o+8x1e+24x2e+8x2o+12x3o+6x3e+8x4e"
    final_node_update: bool = True
    energy_zero: str = "vacuum"
    reference: str = "none"
    sees_reference: bool = False
    overlap_floor: float = 0.0
    spinor: bool = False
    deeph_e3: DeepHE3Config = field(default_factory=DeepHE3Config)
    qhnet: QHNetConfig = field(default_factory=QHNetConfig)
    tracegrad: TraceGradConfig = field(default_factory=TraceGradConfig)
    harmose: HarmoSEConfig = field(default_factory=HarmoSEConfig)

    @property
    def of_molecules(self) -> bool:
        """Whether the model takes molecules alone."""
        return self.reference != "none" or self.overlap_floor > 0

    def __post_init__(self):
        if self.backbone not in BACKBONES:
            raise ConfigError(f"backbone must be one of {', '.join(BACKBONES)}, found {self.backbone!r}")
        published = self.backbone != "fast"
        if not (0 < self.cutoff_width < self.cutoff or (published and self.cutoff_width == 0)):
            raise ConfigError(f"cutoff_width must lie between 0 and cutoff = {self.cutoff}, found {self.cutoff_width}")
        if published:
            self._refuse_settings_of_the_fast_backbone()
        self._check_reach()
        if self.backbone != "deeph-e3" and not 0 < self.message_cutoff <= self.cutoff:
            raise ConfigError(f"message_cutoff must lie between 0 and cutoff = {self.cutoff}, found {self.message_cutoff}")
        if self.backbone == "qhnet" and self.spinor:
            raise ConfigError("the backbone 'qhnet' predicts spinless blocks only: set spinor to false or choose another backbone")
        if self.n_blocks < 1:
            raise ConfigError(f"n_blocks must be at least 1, found {self.n_blocks}")
        if self.energy_zero not in ENERGY_ZEROS:
            raise ConfigError(f"energy_zero must be one of {', '.join(ENERGY_ZEROS)}, found {self.energy_zero!r}")
        if self.reference not in REFERENCES:
            raise ConfigError(f"reference must be one of {', '.join(REFERENCES)}, found {self.reference!r}")
        if self.reference != "none" and (self.energy_zero != "vacuum" or self.spinor):
            raise ConfigError("a reference belongs to molecules: set energy_zero to 'vacuum' and spinor to false")
        if not 0 <= self.overlap_floor < 1 or (self.overlap_floor and (self.energy_zero != "vacuum" or self.spinor)):
            raise ConfigError(
                "overlap_floor must lie between 0 and 1, and be 0 but for molecules (energy_zero 'vacuum', spinor false), "
                f"found {self.overlap_floor}"
            )
        if self.sees_reference and (self.reference == "none" or published):
            raise ConfigError("sees_reference is for the backbone 'fast' with a reference: set reference to 'minao'")

    def reach_of(self, elements) -> dict[int, float]:
        """{Z: Angstrom} of atomic numbers: pairs nearer than the sum of both have a block."""
        return {z: float(self.reach.get(symbol_of(z), self.cutoff / 2)) for z in elements}

    def _refuse_settings_of_the_fast_backbone(self):
        others = FAST_ONLY + (("message_cutoff",) if self.backbone == "deeph-e3" else ())
        changed = [f.name for f in fields(self) if f.name in others and getattr(self, f.name) != f.default]
        if changed:
            section = self.backbone.replace("-", "_")
            raise ConfigError(
                f"{', '.join(changed)}: settings of the backbone 'fast'; those of {self.backbone!r} stand in the section {section}"
            )

    def _check_reach(self):
        if not self.reach:
            return
        for symbol, length in self.reach.items():
            if not is_symbol(symbol) or type(length) not in (int, float) or not 0 < length < math.inf:
                raise ConfigError(f"reach must be {{element: positive length}}, such as {{Bi: 4.24}}, found {{{symbol}: {length}}}")
        longest, shortest = 2 * max(self.reach.values()), 2 * min(self.reach.values())
        if abs(longest - self.cutoff) > 1e-6:
            raise ConfigError(f"cutoff must be twice the largest reach, {longest} Angstrom, found {self.cutoff}")
        begins = max(self.cutoff_width, self.message_cutoff if self.backbone != "deeph-e3" else 0.0)
        if shortest < begins:
            raise ConfigError(
                f"message_cutoff and cutoff_width must not exceed twice the smallest reach, {shortest} Angstrom, found {begins}"
            )


def config_from_dict(cls, data: dict[str, Any], where: str = ""):
    """A frozen dataclass from nested dictionaries; an unknown key or wrong type is a ConfigError that names it."""
    if not isinstance(data, dict):
        raise ConfigError(f"{where or cls.__name__}: expected a mapping of settings, found {shorten(data)}")
    known = {f.name: f for f in fields(cls)}
    values = {}
    for key, value in data.items():
        name = f"{where}.{key}" if where else str(key)
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"valid keys: {', '.join(known)}"
            raise UnknownKeyError(f"unknown key {name!r}; {hint}")
        values[key] = _convert(known[key].type, value, name)
    try:
        return cls(**values)
    except TypeError as error:
        raise ConfigError(f"{where or cls.__name__}: {error}") from error


def config_to_dict(config) -> dict[str, Any]:
    """The nested dictionary that ``config_from_dict`` reads."""
    return asdict(config)


def _convert(kind, value, name: str):
    if hasattr(kind, "__dataclass_fields__"):
        return config_from_dict(kind, value, name)
    if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)  # also of a string: YAML 1.1 reads 1e-3 as one
        except (ValueError, OverflowError):
            number = math.nan
        if math.isnan(number):
            raise ConfigError(f"{name} must be a number, found {shorten(value)}")
        return number
    if isinstance(kind, UnionType):
        if type(value) not in kind.__args__:
            raise ConfigError(f"{name} must be of type {kind}, found {shorten(value)}")
        return value
    if type(value) is not kind:  # True is an int
        raise ConfigError(f"{name} must be {KINDS[kind]}, found {shorten(value)}")
    return value
