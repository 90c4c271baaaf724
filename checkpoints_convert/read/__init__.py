"""Open a checkpoint of any format that this package reads, without executing anything in it.

stored = open_checkpoint("model.ckpt")
stored.container                                  # "torch zip"
stored.tensors["state_dict.betas"].shape          # (1000,), from the table of contents only
stored.tensors["state_dict.betas"].read()         # a read-only view of the mapped file
stored.values["global_step"]                      # 42
"""

from pathlib import Path
from typing import NamedTuple

from checkpoints_convert.read.safetensors import (
    MAX_HEADER,
    looks_like_safetensors,
    open_safetensors,
)
from checkpoints_convert.read.shards import sharded
from checkpoints_convert.read.stored import HOSTILE, RESAVE, CheckpointError, StoredTensor, naming
from checkpoints_convert.read.torch_legacy import MAGIC as legacy_magic
from checkpoints_convert.read.torch_legacy import open_torch_legacy
from checkpoints_convert.read.torch_plain import open_plain_pickle
from checkpoints_convert.read.torch_tree import Scalar, flatten, summary
from checkpoints_convert.read.torch_zip import MAGIC as zip_magic
from checkpoints_convert.read.torch_zip import open_torch_zip
from dsg_jax.bounded import regular_size

_FETCH = "fetch the file itself, and compare its size and hash with the publisher's"
_UNPACK = "unpack it, and give the file or folder inside"
_FOLDER = "give a checkpoint file, or a diffusers folder of them"

# What is found under a checkpoint's name instead: first bytes, where they are, what, and the mend.
_OTHERS = [
    (b"<", 0, "a web page, not a checkpoint", _FETCH),
    (b"version https://git-lfs", 0, "a Git LFS pointer, not the file", _FETCH),
    (b"\x1f\x8b", 0, "compressed by gzip", _UNPACK),
    (b"7z\xbc\xaf", 0, "a 7z archive", _UNPACK),
    (b"\x89HDF", 0, "an HDF5 file (Keras)", _FETCH),
    (b"\x93NUMPY", 0, "a NumPy array", _FETCH),
    (b"GGUF", 0, "a GGUF file", _FETCH),
    (b"ustar", 257, "a tar archive; if PyTorch 0.1 wrote it, it is too old", RESAVE),
]
# In the order of preference; copies in half precision are taken only where there is nothing else.
_STEMS = [
    (stem, variant, ending)
    for variant in ("", ".fp16", ".bf16")
    for stem, ending in (
        ("diffusion_pytorch_model", "safetensors"),
        ("model", "safetensors"),
        ("diffusion_pytorch_model", "bin"),
        ("pytorch_model", "bin"),
    )
]
_WEIGHTS = [f"{stem}{variant}.{ending}" for stem, variant, ending in _STEMS]
# Of weights in several files, by two conventions.
_INDEXES = [
    name
    for stem, variant, ending in _STEMS
    for name in (
        f"{stem}.{ending}.index{variant}.json",
        f"{stem}{variant}.{ending}.index.json",
    )
]

_OPENERS = {
    "torch zip": open_torch_zip,
    "torch legacy": open_torch_legacy,
    "pickle": open_plain_pickle,
}

# A file is checked to its end: it may have so many bytes more than so many times its tensors.
_MAX_REST, _MAX_SHARE = 256 * 2**20, 8


class Stored(NamedTuple):
    """What a checkpoint holds.

    Args:
      path: the file or folder.
      container: "torch zip", "torch legacy", "pickle", "safetensors" or "diffusers folder".
      tensors: by name, in the file's order. Nested containers join their keys with dots
        (``state_dict.betas``, ``optimizer_states.0.state.7.exp_avg``); the parts of a diffusers
        folder come first (``unet.conv_in.weight``). Tensors inside objects of foreign classes are
        not among them.
      values: everything else, by name, as a summary: numbers and text as they are (text cut at 200
        characters), lists by their length, objects by the name of their class.
    """

    path: Path
    container: str
    tensors: dict[str, StoredTensor]
    values: dict[str, Scalar]


def open_checkpoint(path: str | Path) -> Stored:
    """Recognise a checkpoint's format by its first bytes and read its table of contents.

    Args:
      path: a ``.pt``, ``.pth``, ``.ckpt`` or ``.bin`` of `torch.save` (zip or legacy), NVlabs'
        ``.pkl``, a ``.safetensors``, or a diffusers folder of such files.

    Returns:
      its tensors, not read, and a summary of its other values.

    Raises:
      CheckpointError: another format, damage, a claim that the file cannot keep, or no tensors; it
        names the file and the mend. Damage to a zip member that holds values is found by
        `StoredTensor.read`.
      OSError: the file cannot be opened.
    """
    path = Path(path)
    if path.is_dir():
        return _open_folder(path)
    size = regular_size(path)
    with naming(path), open(path, "rb") as file:
        container = _recognise(file.read(512))
    if container == "safetensors":
        tensors, metadata = open_safetensors(path)
        values = {str(summary(name)): summary(text) for name, text in metadata.items()}
    else:
        with naming(path):
            tensors, values = flatten(_OPENERS[container](path))
    held = sum(tensor.nbytes for tensor in tensors.values())
    if size > _MAX_REST + _MAX_SHARE * held:
        raise CheckpointError(f"of its {size} bytes {held} are tensors", HOSTILE, path)
    return Stored(path, container, tensors, values)


def _recognise(start: bytes) -> str:
    if not start:
        raise CheckpointError("the file is empty")
    if start.startswith(zip_magic):
        return "torch zip"
    if start.startswith(legacy_magic):
        return "torch legacy"
    if looks_like_safetensors(start) and int.from_bytes(start[:8], "little") <= MAX_HEADER:
        return "safetensors"
    if start.startswith(b"\x80"):
        return "pickle"
    for magic, at, problem, mend in _OTHERS:
        if start[at:].startswith(magic):
            raise CheckpointError(f"it is {problem}", mend)
    raise CheckpointError(f"it is no known checkpoint: it starts with {start[:8]!r}")


def _open_folder(path: Path) -> Stored:
    """The weights of each part of a diffusers folder, or of one part's own folder."""
    tensors: dict[str, StoredTensor] = {}
    values: dict[str, Scalar] = {}
    visible = (part for part in path.iterdir() if not part.name.startswith((".", "_.")))
    parts = sorted(part for part in visible if part.is_dir())
    for part, prefix in [(path, ""), *((part, f"{part.name}.") for part in parts)]:
        names = (name for name in (*_WEIGHTS, *_INDEXES) if (part / name).is_file())
        weights = next(names, None)
        if weights is None:
            continue
        opened = _open_shards if weights in _INDEXES else open_checkpoint
        stored = opened(part / weights)
        tensors |= {prefix + name: tensor for name, tensor in stored.tensors.items()}
        values |= {prefix + name: value for name, value in stored.values.items()}
        values[f"{prefix}file"] = weights
    if not tensors:
        raise CheckpointError(f"the folder has none of {', '.join(_WEIGHTS)}", _FOLDER, path)
    return Stored(path, "diffusers folder", tensors, values)


def _open_shards(index: Path) -> Stored:
    """The tensors of all files that an index names, each where it says."""
    tensors: dict[str, StoredTensor] = {}
    values: dict[str, Scalar] = {}
    for file, names in sharded(index).items():
        regular_size(file)  # no folder, in which there might be this index again
        stored = open_checkpoint(file)
        if stored.tensors.keys() != names:
            odd = min(stored.tensors.keys() ^ names)
            both = f"{file.name} and this index"
            raise CheckpointError(f"{odd[:80]!a} is in only one of {both}", path=index)
        tensors |= stored.tensors
        values |= stored.values
    return Stored(index, "shards", tensors, values)
