"""Folders of converted weights: a readable card beside an Orbax checkpoint.

    folder/card.json    what the weights are: kind, architecture, origin
    folder/weights/     the parameters
    folder/tensors.txt  of each parameter the SHA-256, type, shape, name, and the name of its source

`dsg_jax.priors` describes the same form for diffusion priors.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jax.sharding import Sharding, SingleDeviceSharding

from dsg_jax.priors.streaming import tree_name, write_tree

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
        raise FileNotFoundError(f"{folder} has no card.json: name a folder of converted weights")
    try:
        card = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no readable card: {error}") from error
    kind, version = map(card.get, ("kind", "version")) if isinstance(card, dict) else (None, None)
    if kind not in kinds or version != CARD_VERSION:
        raise ValueError(
            f"{path} has kind {kind!r}, version {version!r}; wanted here is "
            f"{' or '.join(kinds)}, version {CARD_VERSION}"
        )
    return card


def card_name(card: dict) -> str:
    """What a folder of results is called after a prior: bundled ones have names.

    One that was converted has its model's, and a part of the hash of its tensors: a model has
    averaged and raw weights, in several types.
    """
    return card.get("name") or f"{card['model']}-{card['tensors_sha256'][:8]}"


@contextmanager
def naming_lacks(folder: str | Path) -> Iterator[None]:
    """Around what looks entries of a folder's card up: says which one there is none of.

    Raises:
      ValueError: in place of a KeyError.
    """
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{Path(folder) / 'card.json'} lacks {error}") from error


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
    with ocp.StandardCheckpointer(multiprocessing_options=alone) as checkpointer:
        try:
            params = checkpointer.restore(path, structs)
            stored = checkpointer.metadata(path).item_metadata.tree
        except (ValueError, KeyError, FileNotFoundError) as error:
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


def check_free(folder: str | Path) -> None:
    """Refuse a folder that holds something other than weights, before work is put into it.

    Raises:
      ValueError: it does.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: give a new folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "card.json").is_file():
        raise ValueError(f"{folder} holds other files: give a new folder, or one of weights")


def write_weights(
    folder: str | Path, params: Any, card: dict, *needed: str, compress: bool = True
) -> dict:
    """Write parameters and the card, completed by version, count and hash; returns the card.

    Everything is written beside ``folder`` and renamed at the end: what is killed leaves an earlier
    ``folder`` as it was. One with a card is replaced. Leaves may be `streaming.LazyArray`s.

    Raises:
      ValueError: a card without ``kind`` or one of the entries ``needed``, or a folder that
        `check_free` refuses.
    """
    missing = {"kind", *needed} - set(card)
    if missing:
        raise ValueError(f"the card lacks {', '.join(sorted(missing))}")
    check_free(folder)
    folder = Path(folder).absolute()
    growing = folder.with_name(folder.name + ".partial")
    shutil.rmtree(growing, ignore_errors=True)
    growing.mkdir(parents=True)
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
    shutil.rmtree(folder, ignore_errors=True)
    growing.rename(folder)
    return card
