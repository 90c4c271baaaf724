"""Convert a checkpoint: check everything first, then stream one tensor after the other to disk."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import ml_dtypes
import numpy as np
from tqdm import tqdm

from checkpoints_convert.alike import told_apart, whole_sets
from checkpoints_convert.card import card_facts, source_facts
from checkpoints_convert.diffusers import configured, is_unet2d
from checkpoints_convert.facts import told_facts, with_architecture, with_facts
from checkpoints_convert.kind import Kind
from checkpoints_convert.kinds import KINDS
from checkpoints_convert.match import Fit, recognise, to_layout, unwrapped
from checkpoints_convert.preconditioning import (
    Stated,
    consistency_warning,
    with_preconditioning,
)
from checkpoints_convert.prompts import Embedded, prompt_embeddings
from checkpoints_convert.read import Stored, open_checkpoint
from checkpoints_convert.read.stored import StoredTensor
from checkpoints_convert.schedules import stored_facts
from dsg_jax.priors import save_folder
from dsg_jax.priors.first_stage import CODES
from dsg_jax.priors.folder import naming_card
from dsg_jax.priors.streaming import LazyArray, tree_name
from dsg_jax.priors.swap import check_free

DTYPES = {
    "float32": np.dtype(np.float32),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float16": np.dtype(np.float16),
}

# Leaves that are small and have to be exact, whatever --dtype says.
_EXACT = "bias", "scale", "map_noise.freqs", "running_mean", "running_var"
# What a file is to a kind that was asked for, and to one that it was recognised as.
_SEEMS = "is no", "is most like"


class Conversion(NamedTuple):
    """What is to be written, all of it checked.

    Attributes:
      fits: folder and what goes into it, one for each set of weights.
      embedded: stored embeddings of prompts, for a kind that has them.
      words: of what differs from the published model.
    """

    sources: list[Stored]
    kind: Kind
    why: str
    fits: list[tuple[Path, Fit]]
    dtype: str
    embedded: Embedded | None
    words: list[str] = []


def plan_convert(input: list[Path], **options) -> Callable[[], list[dict]]:
    """Check files and options (those of `conversion_of`); the work that is left is returned.

    Raises:
      ValueError, OSError: a file that is no checkpoint of the kind, or options that do not fit.
    """
    planned = conversion_of(input, **options)
    return lambda: convert(planned)


def conversion_of(
    inputs: list[Path],
    out: Path,
    kind: str = "auto",
    weights: str | None = None,
    dtype: str = "float32",
    *,
    architecture: Path | None = None,
    context: Path | None = None,
    betas: list[str] | None = None,
    size: int | None = None,
    parametrisation: str | None = None,
    **stated: Any,
) -> Conversion:
    """What a conversion would do; writes nothing and reads no tensor.

    ``stated`` is what `preconditioning.Stated` has.
    """
    if kind not in ("auto", *KINDS):
        raise ValueError(f"no kind {kind!r}: choose from auto, {', '.join(KINDS)}")
    if dtype not in DTYPES:
        raise ValueError(f"no dtype {dtype!r}: choose from {', '.join(DTYPES)}")
    sources = [open_checkpoint(path) for path in inputs]
    tensors = merged(sources)
    named = ", ".join(str(path) for path in inputs)
    stored, told = stored_facts(tensors, inputs[0]), told_facts(betas, size, parametrisation)
    name, why = kind, "as asked for"
    if kind == "auto":
        name, why = _recognised(tensors, named, inputs[0], told | stored)
    why += consistency_warning(name, inputs)
    with naming_card(Path(named)):
        chosen = KINDS[name].of(tensors)
    if name == "unet2d" and architecture is None:
        chosen = configured(chosen, inputs[0])
        stored |= {fact: chosen.card[fact] for fact in ("parametrisation", "size")}
    elif architecture is not None:
        if is_unet2d(inputs[0]):
            raise ValueError(f"{inputs[0]} has a config.json: edit that, without --architecture")
        chosen, said = with_architecture(chosen, architecture, told | stored)
        told = said | told
    fitting = whole_sets(tensors, name, chosen, weights, f"{named} {_SEEMS[kind == 'auto']} {name}")
    chosen, words = with_facts(chosen, told, stored, named)
    values = {name: value for stored in sources for name, value in stored.values.items()}
    with naming_card(Path(named)):
        chosen = with_preconditioning(chosen, name, tensors, values, Stated(**stated))
    folders = _folders(out, fitting, weights)
    embedded = None
    if chosen.prompts:
        width = chosen.architecture["unet"].context_dim
        embedded = prompt_embeddings(context, inputs[0], width, chosen.prompts)
    elif context is not None:
        raise ValueError(f"{name} takes no --context: its network is not conditioned on prompts")
    return Conversion(
        sources, chosen, why, list(zip(folders, fitting, strict=True)), dtype, embedded, words
    )


def convert(planned: Conversion, report: Callable[[str], object] = print) -> list[dict]:
    """Write the folders, and a few lines about each; returns their cards."""
    tensors = merged(planned.sources)
    sources = [source_facts(stored) for stored in planned.sources]
    cards = []
    for folder, fit in planned.fits:
        report(f"{fit.kind}, {fit.layout.about}: {planned.why}; {len(fit.sources)} tensors fit")
        for word in planned.words:
            report(f"  {word}")
        for reason, names in fit.dropped.items():
            report(f"  left out: {len(names)}, {reason}")
        with _progress(sum(_planned_bytes(fit, planned.dtype))) as bar:
            tree = lazy_tree(tensors, fit, planned.dtype, bar.update)
            if planned.embedded is not None:
                table = planned.embedded.table
                read = partial(np.asarray, table)
                tree["conditions"] = LazyArray(table.shape, table.dtype, read, "prompts")
            facts = card_facts(planned.kind, fit, planned.dtype, sources, planned.embedded)
            architecture = planned.kind.stored_architecture
            card = save_folder(
                folder, planned.kind.card_kind, tree, architecture, facts, compress=False
            )
        report(f"  {folder}: {card['parameters']:,} parameters")
        cards.append(card)
    return cards


def merged(sources: list[Stored]) -> dict[str, StoredTensor]:
    """The tensors of all files.

    Raises:
      ValueError: two files hold a tensor of one name.
    """
    tensors: dict[str, StoredTensor] = {}
    for stored in sources:
        named = unwrapped(stored.tensors)
        twice = tensors.keys() & named.keys()
        if twice:
            raise ValueError(
                f"{stored.path} and another file both hold {min(twice)}: give each file once"
            )
        tensors |= named
    return tensors


def lazy_tree(
    tensors: dict[str, StoredTensor], fit: Fit, dtype: str, progress: Callable[[int], Any]
) -> dict:
    """The parameters, each read, transposed and cast when it is its turn to be written."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(fit.structs)
    lazy = []
    for (path, struct), source in zip(leaves, fit.sources, strict=True):
        target = _stored_type(path, dtype)

        def read(source=source, struct=struct, target=target) -> np.ndarray:
            value = tensors[source].read()
            progress(value.size * target.itemsize)
            return _cast(to_layout(value, struct.shape), target, source)

        lazy.append(LazyArray(struct.shape, target, read, source))
    return jax.tree.unflatten(structure, lazy)


def _recognised(
    tensors: dict[str, StoredTensor], named: str, path: Path, facts: dict
) -> tuple[str, str]:
    if is_unet2d(path):
        return "unet2d", "its config.json says so"
    try:
        name, why = recognise(tensors)
        return told_apart(name, path.name, facts), why
    except ValueError as error:
        raise ValueError(f"{named}: {error}") from error


def _folders(out: Path, fitting: list[Fit], weights: str | None) -> list[Path]:
    """Where each set of weights goes; ValueError where other files are."""
    folders = [out / fit.weights for fit in fitting] if weights == "both" else [out]
    if weights == "both" and out.is_dir() and {e.name for e in out.iterdir()} - {"ema", "raw"}:
        raise ValueError(f"{out} holds other files than ema and raw: give a new folder")
    for folder in folders:
        check_free(folder)
    return folders


def _stored_type(path: tuple, dtype: str) -> np.dtype:
    """Vectors and codes stay float32 (`_EXACT`)."""
    *modules, leaf = tree_name(path).split("/")
    exact = leaf in _EXACT or CODES in modules
    return DTYPES["float32" if exact else dtype]


def _cast(value: np.ndarray, dtype: np.dtype, source: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(value, dtype)
    if not np.isfinite(stored).all():
        large = "its values leave the type's range, so choose another --dtype"
        why = large if np.isfinite(value).all() else "so does the file, whose weights are damaged"
        raise ValueError(f"{source} would hold infinities or NaN as {dtype}: {why}")
    return stored


def _planned_bytes(fit: Fit, dtype: str) -> Iterator[int]:
    for path, struct in jax.tree_util.tree_leaves_with_path(fit.structs):
        yield struct.size * _stored_type(path, dtype).itemsize


@contextmanager
def _progress(total: int) -> Iterator[tqdm]:
    with tqdm(total=total, unit="B", unit_scale=True, disable=None, file=sys.stderr) as bar:
        yield bar
