"""NetworkConfig: everything that decides the architecture, read from YAML and stored in the checkpoint."""

import difflib
from dataclasses import asdict, dataclass, field, fields
from types import UnionType
from typing import Any

ENERGY_ZEROS = ("vacuum", "cell-average")


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


@dataclass(frozen=True)
class NetworkConfig:
    """Architecture of the O(2) network. Lengths in Angstrom.

    cutoff: atom pairs farther apart have no block; the blocks go to zero over the last cutoff_width.
    message_cutoff: pairs nearer than this pass messages to atoms; the others only get pair updates.
    hidden, edge_last, node_last: irreps of the features between blocks and after the last one.
    final_node_update: one more message from the last pair features into the atoms, for the on-site blocks.
    energy_zero: of the labels: 'vacuum' (molecules, localised Hartree solvers) or 'cell-average' (see energy_zero.py).
    spinor: blocks are 2 x 2 in spin, with spin-orbit coupling and time reversal (see spin.py).
    """

    cutoff: float = 7.5
    cutoff_width: float = 0.4
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
    spinor: bool = False
    tracegrad: TraceGradConfig = field(default_factory=TraceGradConfig)

    def __post_init__(self):
        if not 0 < self.cutoff_width < self.cutoff:
            raise ConfigError(f"cutoff_width must lie between 0 and cutoff = {self.cutoff}, found {self.cutoff_width}")
        if not 0 < self.message_cutoff <= self.cutoff:
            raise ConfigError(f"message_cutoff must lie between 0 and cutoff = {self.cutoff}, found {self.message_cutoff}")
        if self.n_blocks < 1:
            raise ConfigError(f"n_blocks must be at least 1, found {self.n_blocks}")
        if self.energy_zero not in ENERGY_ZEROS:
            raise ConfigError(f"energy_zero must be one of {', '.join(ENERGY_ZEROS)}, found {self.energy_zero!r}")


def config_from_dict(cls, data: dict[str, Any], where: str = ""):
    """A frozen dataclass from nested dictionaries; an unknown key or wrong type is a ConfigError that names it."""
    if not isinstance(data, dict):
        raise ConfigError(f"{where or cls.__name__}: expected a mapping of settings, found {data!r}")
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
            return float(value)  # also of a string: YAML 1.1 reads 1e-3 as one
        except ValueError:
            raise ConfigError(f"{name} must be a number, found {value!r}") from None
    if isinstance(kind, UnionType):
        if type(value) not in kind.__args__:
            raise ConfigError(f"{name} must be of type {kind}, found {value!r}")
        return value
    if type(value) is not kind:  # True is an int
        raise ConfigError(f"{name} must be of type {kind.__name__}, found {value!r}")
    return value
