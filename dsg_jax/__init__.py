"""DiffStateGrad in JAX: diffusion priors restore images, guidance stays on the state's subspace.

Start with `types` (the vocabulary), then `projection` (the paper), then one file of `solvers`. The
names are listed in `__init__.pyi` and imported when they are first used: reading the lists of
solvers and tasks takes no jax.
"""

import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

_STUB = Path(__file__).with_suffix(".pyi").read_text()
# Name -> the module that has it.
_HOMES = {name: home for home, name in re.findall(r"^from (\S+) import (\w+)", _STUB, re.MULTILINE)}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dsg_jax' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


class _Package(ModuleType):
    """Keeps `dsg_jax.sample` the function: Python puts a module that it imports in its place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return __all__
