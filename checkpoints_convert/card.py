"""What the card of a converted folder says of its source."""

import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version

from checkpoints_convert.kind import Kind
from checkpoints_convert.match import Fit
from checkpoints_convert.prompts import Embedded
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


def card_facts(
    kind: Kind, fit: Fit, dtype: str, sources: list[dict], embedded: Embedded | None
) -> dict:
    """Everything of a card that does not follow from the architecture.

    Args:
      kind: what was converted.
      fit: which tensors of the file it took, and which it left out.
      dtype: of the stored kernels.
      sources: of each file, its `source_facts`.
      embedded: the embeddings of prompts that are stored beside, if any.
    """
    facts = {
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
    if "classes" in kind.architecture:
        last = kind.architecture["classes"] - 1
        about = f"classes 0 to {last - 1}; {last} is no class"
        facts["conditions"] = {"names": [], "default": last, "about": about}
    return facts if embedded is None else facts | {"conditions": embedded.facts}


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed as a package"
    return versions
