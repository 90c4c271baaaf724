"""Folders of converted weights: a readable card beside an Orbax checkpoint.

    folder/card.json    what the weights are: kind, architecture, origin
    folder/weights/     the parameters
    folder/tensors.txt  of each parameter the SHA-256, type, shape, name, and the name of its source
    folder/files.txt    of each file the SHA-256, bytes and name: see `files`

`dsg_jax.priors` describes the same form for diffusion priors.
"""

import hashlib
import json
import reprlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jax.sharding import Sharding, SingleDeviceSharding

from dsg_jax.bounded import read_json
from dsg_jax.priors.cards import check_entries
from dsg_jax.priors.files import record_files
from dsg_jax.priors.streaming import only_raising, tree_name, write_tree
from dsg_jax.priors.swap import replacing

CARD_VERSION = 1

# Where arrays go: all to one sharding, each to that of its shape, or to the default device.
Placement = Sharding | Callable[[jax.ShapeDtypeStruct], Sharding] | None


def read_card(folder: str | Path, *kinds: str) -> dict:
    """The card of a folder that holds weights of one of the kinds.

    Raises:
      FileNotFoundError: no card, so no such folder or one whose writing did not end.
      ValueError: a card that is damaged, of another kind or of another version.
    """
    path = Path(folder) / "card.json"
    if not path.is_file():
        inside = " or ".join(folders_inside(folder)) or "a folder of converted weights"
        raise FileNotFoundError(f"{folder} has no card.json: name {inside}")
    card = read_json(path)
    kind, version = map(card.get, ("kind", "version")) if isinstance(card, dict) else (None, None)
    if not isinstance(kind, str) or kind not in kinds or version != CARD_VERSION:
        raise ValueError(
            f"{path} has kind {reprlib.repr(kind)}, version {reprlib.repr(version)}; wanted here "
            f"is {' or '.join(kinds)}, version {CARD_VERSION}"
        )
    check_entries(card, str(path))
    return card


def folders_inside(folder: str | Path) -> list[str]:
    """Folders with a card in one that has none, such as both sets of weights of a checkpoint."""
    return sorted(str(card.parent) for card in Path(folder).glob("*/card.json"))


def card_name(card: dict) -> str:
    """What a folder of results is called after a prior: bundled ones have names.

    One that was converted has its model's, and a part of the hash of its tensors: a model has
    averaged and raw weights, in several types.
    """
    model, tensors = card.get("model", card.get("kind")), card.get("tensors_sha256", "unknown")
    return card.get("name") or f"{model}-{tensors[:8]}"


@contextmanager
def naming_card(path: Path) -> Iterator[None]:
    """Around what is made of the entries of a card: puts the file's name into the errors.

    Raises:
      ValueError: for a KeyError, that the card lacks the entry; for another ValueError, the same.
    """
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{path} lacks {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_weights(folder: str | Path, structs: Any, placement: Placement = None) -> Any:
    """The parameters of a folder as the shapes and types of a tree of structs.

    They are read straight into these types and onto the devices of ``placement``.

    Raises:
      ValueError: weights of another structure or shape, or missing ones.
    """
    path = (Path(folder) / "weights").absolute()
    fault = f"{path} does not hold what its card says, so make or copy the folder again"
    if placement is None and jax.process_count() > 1:  # Orbax would take the first process's
        placement = SingleDeviceSharding(jax.local_devices()[0])
    if placement is not None:
        place = (lambda leaf: placement) if isinstance(placement, Sharding) else placement
        struct = jax.ShapeDtypeStruct
        structs = jax.tree.map(
            lambda leaf: struct(leaf.shape, leaf.dtype, sharding=place(leaf)), structs
        )
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=me, active_processes={me})
    with only_raising(), ocp.StandardCheckpointer(multiprocessing_options=alone) as checkpointer:
        try:
            params = checkpointer.restore(path, structs)
            stored = checkpointer.metadata(path).item_metadata.tree
        except Exception as error:  # the boundary: decoders of damaged files raise anything
            raise ValueError(f"{fault}: {error}") from error
    # Orbax pads or cuts an array of another shape, or returns it as it is.
    arrays, asked = jax.tree.leaves(stored), jax.tree_util.tree_leaves_with_path(structs)
    for array, (name, form) in zip(arrays, asked, strict=True):
        if tuple(array.shape) != tuple(form.shape):
            raise ValueError(
                f"{fault}: it holds {tree_name(name)} of shape {tuple(array.shape)} and its card "
                f"wants {tuple(form.shape)}"
            )
    return jax.tree.map(jnp.asarray, params)


def write_weights(
    folder: str | Path, params: Any, card: dict, *needed: str, compress: bool = True
) -> dict:
    """Write parameters and the card, completed by version, count and hash; returns the card.

    Everything is written beside ``folder`` and exchanged with it at the end (`swap.replacing`):
    what is killed leaves an earlier ``folder`` as it was. Leaves may be `streaming.LazyArray`s.

    Raises:
      ValueError: a card without ``kind`` or one of the entries ``needed``, or a folder that
        `swap.replacing` refuses.
      OSError: it cannot be written.
    """
    missing = {"kind", *needed} - set(card)
    if missing:
        raise ValueError(f"the card lacks {', '.join(sorted(missing))}")
    with replacing(folder) as growing:
        written = write_tree(growing / "weights", params, compress=compress)
        marker = growing / "weights" / "commit_success.txt"
        if marker.is_file():  # it names the folder on the machine that wrote it
            marker.write_text("committed\n")
        table = "".join(" ".join(line) + "\n" for line in written).encode()
        (growing / "tensors.txt").write_bytes(table)
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        facts = {"parameters": count, "tensors_sha256": hashlib.sha256(table).hexdigest()}
        card = {"version": CARD_VERSION} | facts | card
        (growing / "card.json").write_text(json.dumps(card, indent=1) + "\n")
        record_files(growing)
    return card
