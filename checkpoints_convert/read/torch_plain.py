"""Pickles that `torch.save` did not write, such as NVlabs' ``.pkl``, without PyTorch.

Each storage is an argument of `torch.storage._load_from_bytes`: the bytes of a whole legacy file
that holds it alone. They are read where they lie.
"""

from pathlib import Path

from checkpoints_convert.read.pickle import unpickle
from checkpoints_convert.read.pickle_machine import MAX_INSTRUCTIONS
from checkpoints_convert.read.pickle_records import Blob, StorageRecord
from checkpoints_convert.read.stored import HOSTILE, CheckpointError, Extent, MappedFile, naming
from checkpoints_convert.read.torch_legacy import read_legacy
from checkpoints_convert.read.torch_tree import TorchFile


def open_plain_pickle(path: str | Path) -> TorchFile:
    """Read a pickle, and where its storages lie; no storages.

    Raises:
      CheckpointError: as `inert_pickle.unpickle`, or a storage's bytes are no legacy file of it.
      OSError: the file cannot be opened.
    """
    with naming(Path(path)):
        file = MappedFile(path)
        extents: dict[str, Extent] = {}
        storages: dict[int, StorageRecord] = {}
        spent = 0

        def inline(arguments: tuple) -> StorageRecord:
            nonlocal spent
            blob = arguments[0] if len(arguments) == 1 else None
            if type(blob) is not Blob:
                raise CheckpointError("a storage is made of something other than bytes", HOSTILE)
            if blob.start not in storages:
                inner, work = read_legacy(file, Extent(*blob))
                spent += work
                storage = inner.pickled.tree
                if type(storage) is not StorageRecord or spent > MAX_INSTRUCTIONS:
                    raise CheckpointError("the bytes of a storage hold something else", HOSTILE)
                storages[blob.start] = storage._replace(key=str(blob.start))
                extents[str(blob.start)] = inner.extents[storage.key]
            return storages[blob.start]

        return TorchFile(file, unpickle(file.content, 0, file.size, inline), extents)
