"""Weights that are split into several files, with an index that names each tensor's."""

import re
from pathlib import Path

from checkpoints_convert.read.stored import DAMAGED, MAX_TENSORS, CheckpointError
from dsg_jax.bounded import read_json

_MAX_SHARDS, _NAME = 1000, re.compile(r"\w[\w.-]{0,200}\.(safetensors|bin)")


def sharded(index: Path) -> dict[Path, set[str]]:
    """The files of an index, in order, and the names of the tensors in each.

    Raises:
      CheckpointError: it is no index, has too many entries, or names files elsewhere.
      ValueError, OSError: it cannot be read.
    """
    content = read_json(index)
    table = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(table, dict) or not 1 <= len(table) <= MAX_TENSORS:
        raise CheckpointError("it has no weight_map of tensors to files", DAMAGED, index)
    files: dict[Path, set[str]] = {}
    for tensor, name in table.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or len(files) > _MAX_SHARDS:
            wanted = f"at most {_MAX_SHARDS} .safetensors or .bin beside it"
            raise CheckpointError(f"it names {str(name)[:80]!a}, not {wanted}", DAMAGED, index)
        files.setdefault(index.with_name(name), set()).add(tensor)
    return dict(sorted(files.items()))
