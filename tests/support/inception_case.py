"""The golden case of FID's network: weights by a recipe, at their published names and shapes."""

from functools import cache

import jax
import numpy as np

from checkpoints_convert.kinds import KINDS
from checkpoints_convert.match import fits, to_layout
from support.golden_case import load
from support.network_cases import recipe_weights

MANIFEST, ARRAYS = load("networks/inception_fid")


@cache
def golden_state() -> dict[str, np.ndarray]:
    """The state dict, without what training counts."""
    return recipe_weights(MANIFEST, "inception_fid")


def golden_params() -> dict:
    """The same as our parameters."""
    state, fit = golden_state(), fits(golden_state(), "inception-fid", KINDS["inception-fid"])[0]
    assert fit.perfect, fit.problems()
    leaves, structure = jax.tree.flatten(fit.structs)
    arrays = [to_layout(state[s], leaf.shape) for s, leaf in zip(fit.sources, leaves, strict=True)]
    return jax.tree.unflatten(structure, arrays)


def golden_images() -> list[np.ndarray]:
    """The images, in [-1, 1]."""
    draw = lambda i, sides: np.random.RandomState(i).randint(0, 256, (*sides, 3))
    levels = [draw(i, sides).astype(np.float32) for i, sides in enumerate(MANIFEST["sizes"])]
    return [image / 127.5 - 1 for image in levels]
