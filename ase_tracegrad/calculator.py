"""TraceGradCalculator: the ASE calculator, where the network and the electronic structure meet."""

import copy
import difflib
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.calculators.abc import GetOutputsMixin
from ase.calculators.calculator import Calculator, InputError, PropertyNotImplementedError, all_changes, equal

from .batching import find_charge, predict_one, predict_samples, with_charge
from .blocks import BlockMatrix
from .density_energy import choose_potential
from .electronic.space_group import find_space_group
from .electronic.symmetry import symmetrize
from .electronic_structure import ElectronicStructure
from .io.sample import Sample
from .kpoints import check_kpts_form, normalise_kpts, special_points
from .models import available_models, find_model
from .molecular import FROM_DENSITY, MolecularProperties
from .reciprocal import ReciprocalSpace
from .structure import Structure
from .warn import warn_caller

if TYPE_CHECKING:
    from .nn.predictor import Predictor

ELECTRONIC = ("fermi_level", "ibz_kpoints", "kpoint_weights", "eigenvalues", "occupations")
POTENTIAL = ("energy", "free_energy", "forces", "stress")
# What GPAW scripts pass to fixed_density() and what means nothing here.
GPAW_ONLY = ("symmetry", "txt", "nbands", "convergence")


class TraceGradCalculator(MolecularProperties, ReciprocalSpace, Calculator, GetOutputsMixin):
    """Bands, density of states and gap of a structure from a predicted H(R) and an exact S(R).

    model: name of an embedded model, path of a checkpoint, or a Predictor; device: None (CUDA if there
    is one), 'cpu', 'cuda:1' or a torch.device; dtype of the network; potential: an ASE calculator that supplies energy, forces and
    stress; energy: 'density' for those of a molecule's predicted density (density_energy.py); refine, n_rotations: of a model with
    a second stage (HarmoSE), see Predictor.with_options. Parameters, also of set(): kpts, any form ASE knows;
    fermi_kpts, the mesh of the Fermi level, which never follows kpts; width, Fermi-Dirac smearing in eV; charge in e (None: that in
    atoms.info), see molecular.py.

    H and S are predicted once per structure; set(kpts=...) diagonalises again and nothing else.
    There is no total energy without ``potential`` or ``energy``: get_potential_energy() then warns and returns nan.
    """

    name = "tracegrad"
    nolabel = True  # `ase run` must not pass a file label
    implemented_properties: list[str] = list(FROM_DENSITY)
    default_parameters: dict[str, Any] = {
        "kpts": {"density": 3.5, "gamma": True},
        "fermi_kpts": {"density": 5.0, "gamma": True},
        "width": 0.0,
        "charge": None,
    }

    def __init__(
        self,
        model="graphene-pbe",
        *,
        device=None,
        dtype: str = "float32",
        potential=None,
        energy: str | None = None,
        refine: bool | None = None,
        n_rotations: int | None = None,
        **parameters,
    ):
        if hasattr(model, "predict"):
            if device is not None or dtype != "float32":
                raise InputError("device and dtype belong to loading a model; this Predictor is already loaded, pass neither")
            self.model = model
        else:
            path = find_model(model)
            # An absolute path, so that a copy in another process or folder finds the same file.
            self.model = str(model) if str(model) in available_models() else str(path.absolute())
        self.options: dict[str, Any] = {k: v for k, v in (("refine", refine), ("n_rotations", n_rotations)) if v is not None}
        self.device = None if device is None else str(device)
        self.dtype = dtype
        self.energy, self.potential = energy, choose_potential(potential, energy, self)
        if self.potential is not None:
            # A new list: the class attribute is shared by every calculator.
            supplied = [p for p in POTENTIAL if p in self.potential.implemented_properties]
            self.implemented_properties = [*FROM_DENSITY, *supplied]
        self._structure: ElectronicStructure | None = None
        self._fermi: tuple | None = None
        self._source = None
        self._energy_warning_given = False
        self._predictor: Predictor | None = None
        _ = self.predictor  # a damaged model or a wrong device is an error here, not at the first use
        super().__init__(**parameters)

    @property
    def predictor(self) -> "Predictor":
        """The loaded model (nn.predictor.Predictor), shared by all calculators of this process.

        Kept from the first use: a model file that changes or vanishes later does not reach a living calculator.
        """
        if self._predictor is None:
            if isinstance(self.model, str):
                from .nn.predictor import load_model

                predictor = load_model(self.model, device=self.device, dtype=self.dtype)
            else:
                predictor = self.model
            self._predictor = predictor.with_options(**self.options) if self.options else predictor
        return self._predictor

    # -- ASE's protocol ------------------------------------------------------------------------

    def set(self, **parameters) -> dict:
        """Change kpts, fermi_kpts, width or charge; H and S stay."""
        for key in parameters:
            if key not in self.default_parameters:
                near = difflib.get_close_matches(key, self.default_parameters, 1)
                hint = f"; did you mean {near[0]!r}?" if near else "."
                raise InputError(f"unknown parameter {key!r}{hint} Known: {', '.join(self.default_parameters)}")
        for key in {"kpts", "fermi_kpts"} & set(parameters):
            check_kpts_form(parameters[key])
        width = parameters.get("width", 0.0)
        if not (isinstance(width, (int, float, np.number)) and 0 <= width < math.inf):
            raise InputError(f"width must be zero or a positive energy in eV, found {width!r}")
        find_charge(None, parameters.get("charge"))
        # The copy matters: ASE compares with the old value, and an array may be changed in place by its owner.
        changed = Calculator.set(self, **copy.deepcopy(parameters))
        if changed:
            stale = ELECTRONIC + FROM_DENSITY + (POTENTIAL if "charge" in changed else ())
            self.results = {key: value for key, value in self.results.items() if key not in stale}
        return changed

    def set_atoms(self, atoms):
        """Called by ``atoms.calc = calc``: refuses elements the model does not know, before any work."""
        unknown = sorted(set(atoms.numbers.tolist()) - set(self.predictor.card.elements))
        if unknown:
            self.predictor.check(Structure.from_atoms(atoms))
        self._source = atoms

    def calculate(self, atoms=None, properties=(), system_changes=all_changes):
        """ASE's entry: electronic results for properties=(), otherwise what is asked for."""
        atoms = self._current_atoms(atoms)
        for name in properties:
            self._check_property(name)
        if self.check_state(atoms):
            self.results = {}
        if atoms is not self.atoms:
            self._source, self.atoms = atoms, atoms.copy()
        for name in properties:
            if name in FROM_DENSITY:
                self.results[name] = self._calculate_from_density(name, self.atoms)
            elif self.potential is not None and name in self.implemented_properties:
                self.results[name] = self.potential.get_property(name, self.atoms.copy())
        if not properties or set(properties) & set(ELECTRONIC):
            self._calculate_bands()

    def get_property(self, name, atoms=None, allow_calculation=True):
        """ASE's entry of get_forces() and the like; PropertyNotImplementedError says what would provide them."""
        self._check_property(name)
        return super().get_property(name, atoms, allow_calculation)

    def _check_property(self, name: str):
        if name in self.implemented_properties or name in ELECTRONIC:
            return
        hint = "pass potential=<ASE calculator>, which provides it" if self.potential is None else "nor does its potential"
        raise PropertyNotImplementedError(f"{name}: TraceGrad predicts a Hamiltonian and has no {name}; {hint}")

    def _calculate_bands(self):
        if "eigenvalues" in self.results:
            return
        structure = self.electronic_structure(self.atoms)
        mesh = structure.check_time_reversal(normalise_kpts(self.parameters["kpts"], self.atoms).mesh)
        energies = structure.energies(mesh.kpts, progress=True)
        fermi_level = self._fermi_level(self.atoms)
        self.results.update(
            fermi_level=fermi_level,
            ibz_kpoints=np.array(mesh.kpts),
            kpoint_weights=np.array(mesh.weights),
            eigenvalues=energies[None],
            occupations=structure.occupations(energies, fermi_level, width=self.parameters["width"])[None],
        )

    def _outputmixin_get_results(self) -> dict:
        atoms = self._current_atoms(None)
        if "eigenvalues" not in self.results or self.check_state(atoms):
            self.calculate(atoms)
        return self.results

    def _current_atoms(self, atoms):
        """The atoms given, else those this calculator is attached to or last calculated, as they are now."""
        for known in (atoms, self._source, self.atoms):
            if known is not None:
                return known
        raise InputError("no structure yet: attach the calculator (atoms.calc = calc) or pass atoms")

    def get_potential_energy(self, atoms=None, force_consistent: bool = False) -> float:
        """Of ``potential`` or ``energy``, in eV; without one, a warning (once) and nan: a Hamiltonian is not an energy."""
        if self.potential is not None:
            return super().get_potential_energy(atoms, force_consistent)
        self.calculate(atoms)
        if not self._energy_warning_given:
            self._energy_warning_given = True
            warn_caller(
                "TraceGrad predicts a Hamiltonian, not a total energy: returning nan (potential=<ASE calculator> gives one; of a "
                "molecule energy='density' too)",
                UserWarning,
            )
        return math.nan

    def get_fermi_level(self) -> float:
        """Fermi level in eV, on the mesh fermi_kpts; nothing is solved at kpts for it."""
        return self._fermi_level(self._current_atoms(None))

    # -- real space ----------------------------------------------------------------------------

    def sample(self, atoms=None) -> Sample:
        """Structure, H(R) and S(R) together, predicted once per structure."""
        return self.electronic_structure(atoms).sample

    def electronic_structure(self, atoms=None) -> ElectronicStructure:
        """What answers from H(R) and S(R); it and what it arranges are kept until the structure changes."""
        atoms = self._current_atoms(atoms)
        structure, charge, known = Structure.from_atoms(atoms), self.find_charge(atoms), self._structure
        if known is None or not known.sample.structure.equals(structure):
            known = ElectronicStructure(predict_one(self.predictor, structure))
        if charge != known.sample.info.get("charge", 0.0):
            known = ElectronicStructure(with_charge(known.sample, charge))
        # One assignment at the end: threads that share a calculator see a whole sample or the previous one.
        self._structure = known
        return known

    def hamiltonian(self, atoms=None, *, symmetrized: bool = False) -> BlockMatrix:
        """H(R) in eV; symmetrized: its part that has the symmetry of the structure.

        Raises StructureError or UnsupportedStructureError; OutOfDomainWarning.
        """
        sample = self.sample(atoms)
        return symmetrize(sample.hamiltonian, find_space_group(sample.structure)) if symmetrized else sample.hamiltonian

    def overlap(self, atoms=None) -> BlockMatrix:
        """S(R), dimensionless, exact for the model's basis."""
        return self.sample(atoms).overlap

    def predict(self, list_of_atoms: Iterable, batch: int | str = "auto", progress: bool = True) -> Iterator[Sample]:
        """Iterate over the Samples of many structures, predicted in batches; see batching.predict_samples."""
        charge = self.parameters["charge"]
        return predict_samples(self.predictor, list_of_atoms, batch=batch, charge=charge, progress=progress)

    def fixed_density(self, **parameters) -> "TraceGradCalculator":
        """A second calculator that shares the predicted H and S, with other parameters (GPAW's name for it)."""
        sibling = copy.deepcopy(self)
        sibling._source = self._source
        sibling.set(**{key: value for key, value in parameters.items() if key not in GPAW_ONLY})
        return sibling

    # -- reciprocal space ------------------------------------------------------------------------

    def _fermi_level(self, atoms, progress: bool = True) -> float:
        kpts, width = self.parameters["fermi_kpts"], self.parameters["width"]
        mesh = self._mesh(kpts, self._checked_atoms(atoms), "fermi_kpts")
        structure = self.electronic_structure(atoms)
        if self._fermi is not None:
            known, known_kpts, known_width, level = self._fermi
            if known is structure and known_width == width and equal(known_kpts, kpts):
                return level
        level = structure.find_fermi_level(mesh, edges=special_points(atoms), width=width, progress=progress)
        self._fermi = (structure, kpts, width, level)
        return level

    # -- state ---------------------------------------------------------------------------------

    def todict(self, skip_default: bool = True) -> dict:
        """Parameters, the model's name or path and energy, as ase.db stores them."""
        model = self.model if isinstance(self.model, str) else self.model.card.name
        energy = {"energy": self.energy} if self.energy else {}
        return {"model": model, **energy, **self.options, **super().todict(skip_default)}

    def __getstate__(self) -> dict:
        """Everything but the network, which load_model finds again by name or path in the other process."""
        return self.__dict__ | {"_source": None, "_predictor": None}

    def __deepcopy__(self, memo) -> "TraceGradCalculator":
        """A copy that shares the predictor and the predicted matrices, both immutable."""
        shared = ("model", "_predictor", "_structure", "_fermi")
        twin = self.__class__.__new__(self.__class__)
        memo[id(self)] = twin
        state = self.__dict__ | {"_source": None}
        twin.__dict__.update({k: v if k in shared else copy.deepcopy(v, memo) for k, v in state.items()})
        return twin

    def __repr__(self) -> str:
        parameters = "".join(f", {key}={value!r}" for key, value in list(self.todict().items())[1:])
        card, equivariance = self.predictor.card, self.predictor.equivariance
        return f"TraceGradCalculator({card.name!r}{parameters})\n{card.describe(equivariance)}"
