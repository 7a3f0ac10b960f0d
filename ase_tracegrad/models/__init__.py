"""The models that come with the package, by name."""

import difflib
from pathlib import Path

FOLDER = Path(__file__).parent
SUFFIX = ".safetensors"


class UnknownModelError(KeyError, ValueError):
    """Neither the name of an embedded model nor a model file."""

    def __str__(self) -> str:
        return str(self.args[0])


def available_models() -> list[str]:
    """Names of the embedded models."""
    return sorted(path.name.removesuffix(SUFFIX) for path in FOLDER.glob("*" + SUFFIX))


def find_model(model) -> Path:
    """File of a model given by name or path."""
    if not isinstance(model, (str, Path)):
        raise TypeError(f"a model is a name or a path, found {type(model).__name__}")
    embedded = FOLDER / f"{model}{SUFFIX}"
    if embedded.is_file():
        return embedded
    path = Path(model)
    if path.is_file():
        return path
    if path.suffix == SUFFIX or path.parent != Path("."):
        raise FileNotFoundError(f"no model file at {path}")
    names = available_models()
    near = difflib.get_close_matches(str(model), names, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else f"embedded models: {', '.join(names) or 'none'}"
    raise UnknownModelError(f"no model named {str(model)!r}; {hint} (the path of a {SUFFIX} file works as well)")
