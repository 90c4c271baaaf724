"""Folders of converted weights: a readable card beside an Orbax checkpoint.

    folder/card.json    what the weights are: kind, architecture, origin
    folder/weights/     the parameters

`dsg_jax.priors` describes the same form for diffusion priors.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

CARD_VERSION = 1


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
    found = (card.get("kind"), card.get("version")) if isinstance(card, dict) else (None, None)
    if found[0] not in kinds or found[1] != CARD_VERSION:
        raise ValueError(
            f"{path} has kind {found[0]!r}, version {found[1]!r}; wanted here is "
            f"{' or '.join(kinds)}, version {CARD_VERSION}"
        )
    return card


def read_weights(folder: str | Path, wanted: Any) -> Any:
    """The parameters of a folder as the shapes and types ``wanted``, a tree of structs.

    Raises:
      ValueError: weights of another structure or shape, or missing ones.
    """
    path = (Path(folder) / "weights").absolute()
    with ocp.StandardCheckpointer() as checkpointer:
        try:
            params = checkpointer.restore(path, wanted)
            stored = checkpointer.metadata(path).item_metadata.tree
        except (ValueError, KeyError, FileNotFoundError) as error:
            raise ValueError(f"{path} does not hold what its card says: {error}") from error
    # Orbax pads or cuts an array of another shape, or returns it as it is.
    shapes = [[tuple(leaf.shape) for leaf in jax.tree.leaves(tree)] for tree in (stored, wanted)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"{path} does not hold what its card says: arrays of other shapes")
    return jax.tree.map(jnp.asarray, params)


def write_weights(folder: str | Path, params: Any, card: dict, *needed: str) -> dict:
    """Write parameters and the card, completed by version and parameter count; returns the card.

    Everything is written beside ``folder`` and renamed at the end: what is killed leaves an earlier
    ``folder`` as it was. One with a card is replaced.

    Raises:
      ValueError: a card without ``kind`` or one of the entries ``needed``, or a folder that holds
        something else.
    """
    missing = {"kind", *needed} - set(card)
    if missing:
        raise ValueError(f"the card lacks {', '.join(sorted(missing))}")
    folder = Path(folder).absolute()
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "card.json").is_file():
        raise ValueError(f"{folder} holds other files: give a new folder, or one of weights")
    growing = folder.with_name(folder.name + ".partial")
    shutil.rmtree(growing, ignore_errors=True)
    growing.mkdir(parents=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(growing / "weights", params)
    marker = growing / "weights" / "commit_success.txt"
    if marker.is_file():  # it names the folder on the machine that wrote it
        marker.write_text("committed\n")
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    card = {"version": CARD_VERSION, "parameters": count} | card
    (growing / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    growing.rename(folder)
    return card
