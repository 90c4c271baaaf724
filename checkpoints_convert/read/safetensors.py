"""The safetensors format: no pickle, a JSON header and the tensors' bytes, one behind the other.

The file starts with the header's length (uint64, little-endian), then the header

    {"a": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}, ..., "__metadata__": {...}}

then the bytes that the offsets count. Nothing in it is checksummed.
"""

import itertools
import json
import math
import struct
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from checkpoints_convert.read.stored import (
    HOSTILE,
    MAX_AXES,
    MAX_TENSORS,
    CheckpointError,
    Extent,
    MappedFile,
    StoredTensor,
    check_name,
    is_count,
    naming,
    stored_tensor,
)

# The format allows 100 MB; Stable Diffusion's whole header has 0.2 MB.
MAX_HEADER = 16 * 2**20

_DTYPES = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "I16": np.int16,
    "U16": np.uint16,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I32": np.int32,
    "U32": np.uint32,
    "F32": np.float32,
    "I64": np.int64,
    "U64": np.uint64,
    "F64": np.float64,
}


def open_safetensors(path: str | Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """Read the header of a ``.safetensors`` file.

    Returns:
      its tensors, by name, not read, and its metadata.

    Raises:
      CheckpointError: the header is cut off, too long or malformed; a tensor's type is unknown, its
        bytes are not as many as its shape takes; tensors overlap, leave gaps or leave the file.
      OSError: the file cannot be opened.
    """
    with naming(Path(path)):
        file = MappedFile(path)
        entries, start = _header(file)
        metadata = entries.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
            raise CheckpointError("its metadata are not text by names")
        if not entries or len(entries) > MAX_TENSORS:
            raise CheckpointError(f"it has {len(entries)} tensors, not 1 to {MAX_TENSORS}", HOSTILE)
        tensors = {check_name(k): _tensor(file, start, k, entry) for k, entry in entries.items()}
        _check_cover(file, start, tensors)
        return tensors, metadata


def looks_like_safetensors(content: bytes) -> bool:
    """Whether a file's first bytes are a header's length and its opening brace."""
    return len(content) > 8 and content[8:9] == b"{"


def _header(file: MappedFile) -> tuple[dict[str, Any], int]:
    if not looks_like_safetensors(file.content[:9]):
        raise CheckpointError("it does not start with a safetensors header")
    (length,) = struct.unpack("<Q", file.content[:8])
    if length > min(MAX_HEADER, file.size - 8):
        raise CheckpointError(
            f"its header claims {length} bytes; the file has {file.size}, and {MAX_HEADER} are "
            "allowed"
        )
    try:
        # from bytes, json would guess an encoding; the format says which;
        # what starts with a brace, as `looks_like_safetensors` asks, is an object or no JSON
        text = file.content[8 : 8 + length].decode("utf-8")
        header = json.loads(text, object_pairs_hook=_unique)
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"its header is not JSON: {str(error)[:200]}") from error
    return header, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise CheckpointError("its header has one name twice", HOSTILE)
    return found


def _tensor(file: MappedFile, start: int, name: str, entry: Any) -> StoredTensor:
    named = ascii(name[:80])
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"tensor {named} is not described by dtype, shape and data_offsets")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    dtype = np.dtype(_DTYPES[kind]) if isinstance(kind, str) and kind in _DTYPES else None
    if dtype is None:
        raise CheckpointError(
            f"tensor {named} has type {str(kind)[:20]!a}; {list(_DTYPES)} are read"
        )
    counts = [*shape, *offsets] if isinstance(shape, list) and isinstance(offsets, list) else [None]
    if not all(map(is_count, counts)) or len(shape) > MAX_AXES or len(offsets) != 2:
        raise CheckpointError(f"tensor {named} has a malformed shape or range", HOSTILE)
    begin, end = offsets
    if math.prod(shape) * dtype.itemsize != end - begin:
        raise CheckpointError(
            f"tensor {named} of shape {shape} is said to have {end - begin} bytes"
        )
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    extent = Extent(start + begin, end - begin)
    return stored_tensor(file, extent, dtype, tuple(shape), tuple(strides), 0)


def _check_cover(file: MappedFile, start: int, tensors: dict[str, StoredTensor]) -> None:
    """Require every byte behind the header to belong to one tensor."""
    ranges = sorted((t.extent.start, t.extent.start + t.extent.length) for t in tensors.values())
    edges = [(start, start), *ranges, (file.size, file.size)]
    for (_, end), (begin, _) in itertools.pairwise(edges):
        if begin < end:
            raise CheckpointError(f"two tensors overlap at byte {begin}", HOSTILE)
        if begin > end:
            raise CheckpointError(f"bytes {end} to {begin} belong to no tensor")
