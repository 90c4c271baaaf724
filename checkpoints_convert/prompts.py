"""Embeddings of prompts for Stable Diffusion, which are stored in place of its text encoder.

PSLD samples with the empty prompt. DAPS asks for "a natural looking image" and guides towards it
from the empty one. Both are constants of 77 tokens, made once by the text encoder.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dsg_jax.bounded import read_npy

PROMPTS = ["", "a natural looking image"]
TOKENS = 77
# Text encoder of a kind -> a repository with it, and whether it is one of a pipeline's parts there.
ENCODERS = {
    "clip-l": ("openai/clip-vit-large-patch14", False),
    "openclip-h": ("stabilityai/stable-diffusion-2-1", True),
}


class Embedded(NamedTuple):
    """What is stored.

    Attributes:
      table: (prompts, 77, dim) float32.
      facts: for the card: "names" of the prompts, the "default" one, and who made them.
    """

    table: np.ndarray
    facts: dict


def prompt_embeddings(
    context: Path | None, source: Path, dim: int = 768, encoder: str = "clip-l"
) -> Embedded:
    """The table of a ``.npy`` file, or one made by `transformers`, where that is installed.

    Args:
      context: a file of (77, dim), the empty prompt's embedding, or of (2, 77, dim), those of
        `PROMPTS`: the text encoder's last hidden states after its final norm (of OpenCLIP's 24
        blocks those of the 23rd, which a diffusers folder has as its last).
      source: the checkpoint; a diffusers folder holds a text encoder and a tokeniser.
      dim: width of the network's context.
      encoder: key of `ENCODERS`.

    Raises:
      ValueError: a file of another form, or there is nothing to make embeddings with.
    """
    if context is not None:
        return _from_file(context, dim)
    try:
        import torch
        import transformers
    except ImportError as error:
        raise ValueError(
            f"Stable Diffusion needs the embeddings of its prompts, and {error.name} is not "
            "installed: give them by --context FILE.npy (docs/convert.md says how to make it), or "
            "pip install transformers torch"
        ) from error
    table = _encoded(transformers, torch, source, encoder)
    if table.shape != (len(PROMPTS), TOKENS, dim):
        raise ValueError(
            f"the text encoder gives {table.shape} where the network takes "
            f"{(len(PROMPTS), TOKENS, dim)}: give --context FILE.npy"
        )
    return Embedded(table, {"names": PROMPTS, "default": 0, "about": f"by {ENCODERS[encoder][0]}"})


def _from_file(context: Path, dim: int) -> Embedded:
    table = read_npy(context)
    table = table[None] if table.ndim == 2 else table
    fits = table.ndim == 3 and table.shape[1:] == (TOKENS, dim) and len(table) in (1, len(PROMPTS))
    if not fits or not np.issubdtype(table.dtype, np.floating) or not np.isfinite(table).all():
        raise ValueError(
            f"{context} holds {table.dtype} of shape {table.shape}; wanted are finite floats of "
            f"shape ({TOKENS}, {dim}) or ({len(PROMPTS)}, {TOKENS}, {dim})"
        )
    facts = {"names": PROMPTS[: len(table)], "default": 0, "about": f"from {context.name}"}
    return Embedded(table.astype(np.float32), facts)


def _encoded(transformers: Any, torch: Any, source: Path, name: str) -> np.ndarray:
    """Last hidden states of the folder's own text encoder, or of the cached published one."""
    repository, is_part = ENCODERS[name]
    has_encoder = source.is_dir() and (source / "text_encoder").is_dir()
    parts = "tokenizer", "text_encoder"
    places = [source / part if has_encoder else repository for part in parts]
    inside = [{"subfolder": part} if is_part and not has_encoder else {} for part in parts]
    kinds = transformers.CLIPTokenizer, transformers.CLIPTextModel
    try:
        tokenizer, encoder = (
            kind.from_pretrained(place, local_files_only=True, **where)
            for kind, place, where in zip(kinds, places, inside, strict=True)
        )
    except (OSError, ValueError) as error:
        raise ValueError(
            f"transformers finds no text encoder at {places[1]} ({error}); nothing is downloaded "
            f"here: fetch {repository} into its cache first, or give --context FILE.npy"
        ) from error
    options = {"padding": "max_length", "max_length": TOKENS, "truncation": True}
    tokens = tokenizer(PROMPTS, return_tensors="pt", **options).input_ids
    with torch.no_grad():
        states = encoder.eval()(tokens).last_hidden_state
    return np.asarray(states.float().numpy(), np.float32)
