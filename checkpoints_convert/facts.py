"""What a card says of its source."""

import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version

from checkpoints_convert.kinds import Kind
from checkpoints_convert.match import Fit
from checkpoints_convert.read import Stored

LICENCE = "to be filled in: the terms under which you got these weights"
_PACKAGES = "dsg_jax", "jax", "flax", "orbax-checkpoint", "numpy"


def source_facts(stored: Stored) -> dict:
    """Name, size and SHA-256 of a file; of a folder, of each file in it that holds weights."""
    files = {tensor.file.path for tensor in stored.tensors.values()}
    facts = []
    for path in sorted(files):
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        within = path.relative_to(stored.path) if path != stored.path else path.name
        facts.append({"name": str(within), "bytes": path.stat().st_size, "sha256": digest})
    return {"name": stored.path.resolve().name, "format": stored.container, "files": facts}


def card_facts(kind: Kind, fit: Fit, dtype: str, sources: list[dict]) -> dict:
    """Everything of a card that does not follow from the architecture."""
    return {
        "model": fit.kind,
        **kind.card,
        "weights": fit.weights,
        "dtype": dtype,
        "origin": {"publisher": kind.origin, "licence": LICENCE},
        "source": sources,
        "tensors": len(fit.sources),
        "dropped": [
            {"tensors": len(names), "reason": reason, "names": names[:5]}
            for reason, names in fit.dropped.items()
        ],
        "converted_with": {"python": platform.python_version()} | _versions(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    return found
