"""Read files that somebody else wrote: regular ones, no larger than a limit, one error a file.

A named pipe would be waited for and a device read for ever; JSON may be nested deeper than Python's
stack, and the header of an array may claim any amount of memory.
"""

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

# Bytes of a JSON file; the largest card of a published checkpoint has some 60 kB.
MAX_JSON = 4 * 2**20


def regular_size(path: str | Path) -> int:
    """Bytes of a file.

    Raises:
      ValueError: it is a folder, a named pipe or a device.
      OSError: there is none.
    """
    about = os.stat(path)
    if not stat.S_ISREG(about.st_mode):
        raise ValueError(f"{path} is a folder, a pipe or a device: name a file")
    return about.st_size


def read_bounded(path: str | Path, limit: int) -> bytes:
    """The content of a file of at most so many bytes.

    Raises:
      ValueError: it has more, or is none.
    """
    if (size := regular_size(path)) > limit:
        raise ValueError(f"{path} has {size} bytes, and {limit} are allowed: name another file")
    with open(path, "rb") as file:
        return file.read(limit)


def read_json(path: str | Path) -> Any:
    """What a JSON file of at most `MAX_JSON` bytes holds.

    Raises:
      ValueError: it is larger, no JSON, or nested too deeply.
    """
    content = read_bounded(path, MAX_JSON)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no readable JSON: {error}") from error


def read_npy(path: str | Path) -> "np.ndarray":
    """The array of a ``.npy``; not in memory but mapped, so that it is no larger than its file.

    Raises:
      ValueError: the file holds no array, or one of Python objects.
    """
    import numpy as np  # here, so that ``--help`` is instant

    regular_size(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(array, np.ndarray):
            return array
        array.close()
        problem = "it is an archive"
    except FileNotFoundError:
        raise
    except Exception as error:  # the boundary: numpy's parsers raise whatever they raise
        problem = str(error)
    raise ValueError(f"{path} is no .npy of numbers: {problem}")
