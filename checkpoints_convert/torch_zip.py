"""Read PyTorch's zip-format checkpoints into numpy, executing nothing that is in them.

`torch.save` writes a zip archive: ``<root>/data.pkl`` pickles the nested containers, and each
``<root>/data/<key>`` holds the raw bytes of one storage that tensors view by offset and stride. A
pickle is a program that calls whatever it names. Here a name becomes a tensor, an ordered dict, a
storage type or else an `Opaque` stand-in: nothing is imported, so nothing foreign can be called.
"""

import io
import math
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np

_ZIP_MAGIC = b"PK\x03\x04"
_LEGACY_MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"

_STORAGE_TYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


class Opaque:
    """Stand-in for an object of a class that is not read: accepts any use, and does nothing."""

    __slots__ = ()

    def __new__(cls, *args, **kwargs):
        """Ignore the arguments."""
        return object.__new__(cls)

    def __init__(self, *args, **kwargs):
        """Ignore the arguments."""

    def _ignore(self, *args):
        return None

    __setstate__ = __setitem__ = append = extend = add = _ignore


class _OrderedDict(dict):
    """A dict that drops attributes (modules pickle their ``_metadata`` as one)."""

    __slots__ = ()

    def __setstate__(self, state):
        pass


# What the pickle can reach are tuples: unlike functions or numpy dtypes they cannot be altered by
# its instruction to set an object's state.
class _StorageType(NamedTuple):
    dtype: np.dtype


class _Storage(NamedTuple):
    values: np.ndarray


class _Rebuild(NamedTuple):
    function: Callable

    def __call__(self, *args):
        return self.function(*args)


def _is_count(value) -> bool:
    return type(value) is int and value >= 0


def _rebuild_tensor(storage, offset, size, stride, *_autograd) -> np.ndarray:
    """View a storage as a tensor, after checking that the view stays inside it."""
    if not isinstance(storage, _Storage):
        raise ValueError(f"a tensor is built on {type(storage).__name__}, not on a storage")
    if not (isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride)):
        raise ValueError(f"tensor size {size!r} and stride {stride!r} are not tuples of one length")
    if not all(map(_is_count, (offset, *size, *stride))):
        raise ValueError(f"offset {offset!r}, size {size!r}, stride {stride!r}: not all ints >= 0")
    values, elements = storage.values, math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    # An expanded tensor (stride 0) may stay inside and still ask for any amount of memory.
    if elements > values.size or offset > values.size or (elements and last >= values.size):
        raise ValueError(
            f"tensor of size {size}, stride {stride}, offset {offset} leaves its storage of "
            f"{values.size} elements"
        )
    strides = tuple(values.itemsize * step for step in stride)
    return np.lib.stride_tricks.as_strided(values[offset:], size, strides, writeable=False)


def _rebuild_parameter(tensor, *_autograd) -> np.ndarray:
    if not isinstance(tensor, np.ndarray):
        raise ValueError(f"a parameter is built on {type(tensor).__name__}, not on a tensor")
    return tensor


class _Unpickler(pickle.Unpickler):
    """Names that are not in the table below become classes of their own under `Opaque`."""

    def __init__(self, archive: zipfile.ZipFile, root: str):
        content = archive.read(f"{root}/data.pkl")
        for opcode, argument, _position in pickletools.genops(content):
            # The memo is an array as long as its largest index, whatever the file's size.
            if opcode.name.endswith("PUT") and int(argument or 0) > len(content):
                raise ValueError(f"memo index {argument} in a pickle of {len(content)} bytes")
        super().__init__(io.BytesIO(content))
        self.archive, self.root = archive, root
        self.members = set(archive.namelist())
        self.storages: dict[str, bytes] = {}
        self.names = {
            ("torch._utils", "_rebuild_tensor_v2"): _Rebuild(_rebuild_tensor),
            ("torch._utils", "_rebuild_parameter"): _Rebuild(_rebuild_parameter),
            ("collections", "OrderedDict"): _OrderedDict,
        } | {("torch", n): _StorageType(np.dtype(d)) for n, d in _STORAGE_TYPES.items()}

    def find_class(self, module: str, name: str):
        """Look the name up in the allow-list; never import."""
        if (module, name) not in self.names:
            namespace = {"__slots__": (), "__module__": module}
            self.names[module, name] = type(name, (Opaque,), namespace)
        return self.names[module, name]

    def persistent_load(self, pid) -> _Storage:
        """("storage", type, key, device, element count) -> the storage, its bytes read once."""
        kind, storage_type, key, _device, count = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType):
            raise ValueError(f"reference {kind!r} of type {storage_type!r} is not a known storage")
        member = f"{self.root}/data/{key}"
        if member not in self.members:
            raise ValueError(f"storage {member!r} is not in the archive")
        if key not in self.storages:
            self.storages[key] = self.archive.read(member)
        content, dtype = self.storages[key], storage_type.dtype
        if not _is_count(count) or count * dtype.itemsize != len(content):
            raise ValueError(
                f"storage {member!r} holds {len(content)} bytes, but {count!r} {dtype} values "
                "are claimed"
            )
        return _Storage(np.frombuffer(content, dtype))


def _check_magic(path: Path) -> None:
    with open(path, "rb") as file:
        start = file.read(len(_LEGACY_MAGIC))
    if start.startswith(_LEGACY_MAGIC):
        raise ValueError(
            f"{path} is in PyTorch's legacy format (before 1.6), which is not read yet: load it "
            "once with PyTorch and torch.save it again, which writes the zip format"
        )
    if not start.startswith(_ZIP_MAGIC):
        raise ValueError(f"{path} is not a PyTorch checkpoint: it starts with {start[:4]!r}")


def _find_root(archive: zipfile.ZipFile, file_size: int) -> str:
    """Name of the archive's one folder, once its table of contents is found plausible."""
    members = archive.infolist()
    if len({member.filename for member in members}) != len(members):
        raise ValueError("two members of the archive have one name")
    # PyTorch stores members as they are, so together they cannot exceed the file.
    stored = all(m.compress_type == zipfile.ZIP_STORED for m in members)
    if not stored or sum(m.file_size for m in members) > file_size:
        raise ValueError("members are compressed or larger than the file; torch.save does neither")
    roots = [m.filename[: -len("/data.pkl")] for m in members if m.filename.endswith("/data.pkl")]
    if len(roots) != 1:
        raise ValueError(f"{len(roots)} members are named */data.pkl; a checkpoint has one")
    order = f"{roots[0]}/byteorder"
    if order in archive.namelist() and archive.read(order) != b"little":
        raise ValueError(f"byte order {archive.read(order)!r}; only little-endian files are read")
    return roots[0]


def read_torch_zip(path: str | Path) -> dict:
    """Read a zip-format ``.pt``, ``.pth`` or ``.ckpt`` file.

    Args:
      path: a file written by `torch.save` (PyTorch 1.6 or later).

    Returns:
      The pickled dict with its nesting. Tensors and parameters are read-only numpy arrays (bfloat16
      through `ml_dtypes`) that view their storages, so that shared weights share memory; objects of
      other classes are `Opaque`. The storages are held in memory together, about the file's size.

    Raises:
      ValueError: the file is not such an archive, is truncated or damaged, is in the legacy format,
        does not hold a dict, or describes a tensor that reaches outside its storage.
    """
    path = Path(path)
    _check_magic(path)
    try:
        with zipfile.ZipFile(path) as archive:
            content = _Unpickler(archive, _find_root(archive, path.stat().st_size)).load()
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is truncated or damaged: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path} is refused: {error}") from error
    except Exception as error:  # a malformed pickle can raise any type
        raise ValueError(f"{path} is damaged: {error!r}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds {type(content).__name__}, not a dict of tensors")
    return content
