"""The safetensors format: no pickle, a JSON header and the tensors' bytes, one behind the other.

The package ``safetensors`` reads and checks the header: that names, types, shapes and ranges are
well-formed, and that every byte behind it belongs to one tensor. The values are read as views of
our own mapping of the file, as those of the other formats. The package would copy each tensor and
keep the pages of all that were read: of a file of 2.5 GB in 40 tensors, read one after the other,
2.6 GB are in memory at the end, here 64 MB; and it gives numpy no 8-bit floats.
"""

import math
from itertools import accumulate
from operator import mul
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from checkpoints_convert.read.stored import (
    HOSTILE,
    MAX_AXES,
    MAX_TENSORS,
    CheckpointError,
    Extent,
    MappedFile,
    StoredTensor,
    check_name,
    naming,
    stored_tensor,
)
from checkpoints_convert.read.torch_tree import summary

# The format allows 100 MB; Stable Diffusion's whole header has 0.2 MB. The worst header of this
# size costs some 90 MB and 1 second.
MAX_HEADER = 6 * 2**20

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
      its tensors, by name, not read, in the order of their bytes; and its metadata.

    Raises:
      CheckpointError: the header is cut off, too long or malformed; a tensor's type is unknown, its
        bytes are not as many as its shape takes; tensors overlap, leave gaps or leave the file.
      OSError: the file cannot be opened.
    """
    with naming(Path(path)):
        file = MappedFile(path)
        start = 8 + _header_length(file)
        try:
            with safe_open(path, framework="numpy") as header:
                metadata = dict(sorted((header.metadata() or {}).items()))
                names = header.offset_keys()
                if not 1 <= len(names) <= MAX_TENSORS:
                    raise CheckpointError(
                        f"it has {len(names)} tensors, not 1 to {MAX_TENSORS}", HOSTILE
                    )
                slices = [header.get_slice(name) for name in names]
                forms = [(part.get_dtype(), tuple(part.get_shape())) for part in slices]
        except SafetensorError as error:
            raise CheckpointError(f"its header is refused: {summary(str(error))}") from error
        tensors = {}
        for name, (kind, shape) in zip(names, forms, strict=True):
            tensors[name] = tensor = _tensor(file, start, check_name(name), kind, shape)
            start += tensor.extent.length
        return tensors, metadata


def looks_like_safetensors(content: bytes) -> bool:
    """Whether a file's first bytes are a header's length and its opening brace."""
    return len(content) > 8 and content[8:9] == b"{"


def _header_length(file: MappedFile) -> int:
    if not looks_like_safetensors(file.content[:9]):
        raise CheckpointError("it does not start with a safetensors header")
    length = int.from_bytes(file.content[:8], "little")
    if length > min(MAX_HEADER, file.size - 8):
        raise CheckpointError(
            f"its header claims {length} bytes; the file has {file.size}, and {MAX_HEADER} are "
            "allowed"
        )
    return length


def _tensor(
    file: MappedFile, start: int, name: str, kind: str, shape: tuple[int, ...]
) -> StoredTensor:
    """The tensor whose bytes start there; the header leaves no gaps."""
    if kind not in _DTYPES:
        raise CheckpointError(f"tensor {name!a} has type {kind!a}; {list(_DTYPES)} are read")
    if len(shape) > MAX_AXES:
        raise CheckpointError(f"tensor {name!a} has {len(shape)} axes", HOSTILE)
    dtype = np.dtype(_DTYPES[kind])
    strides = tuple(accumulate(shape[:0:-1], mul, initial=1))[::-1] if shape else ()
    extent = Extent(start, math.prod(shape) * dtype.itemsize)
    return stored_tensor(file, extent, dtype, shape, strides, 0)
