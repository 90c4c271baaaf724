"""Networks that are easily taken for another: of the same names and shapes, or almost."""

import re
from collections.abc import Mapping
from typing import Any

from checkpoints_convert.kind import Kind
from checkpoints_convert.kinds import KINDS
from checkpoints_convert.match import Fit, Tensors, fits


def told_apart(name: str, file: str, facts: Mapping[str, Any]) -> str:
    """A recognised kind, or the one of the same names and shapes that is meant.

    Args:
      name: as `match.recognise` gives it.
      file: the file's name.
      facts: what the file or its user says of `facts.FACTS`.

    Raises:
      ValueError: the kinds mean different networks, and nothing tells which one it is.
    """
    alike = {k: v for k, v in KINDS.items() if v.signature == KINDS[name].signature}
    predicts = facts.get("parametrisation")
    said = [k for k, v in alike.items() if predicts in (None, v.card.get("parametrisation"))]
    candidates = said or list(alike)
    called = [k for k in candidates if alike[k].named and re.search(alike[k].named, file)]
    if not called and any(alike[k].card != alike[candidates[0]].card for k in candidates):
        raise ValueError(
            f"names and shapes are those of {' and '.join(candidates)}, and the file's name does "
            "not tell which: give --kind"
        )
    return (called or candidates)[0]


def upsampler(tensors: Tensors) -> str:
    """Words on a network that is none of a prior: one of guided-diffusion's upsamplers."""
    stems = [t.shape for name, t in tensors.items() if name.endswith("input_blocks.0.0.weight")]
    if not any(len(shape) == 4 and shape[1] == 6 for shape in stems):
        return ""
    return (
        "it takes 6 channels, as guided-diffusion's upsamplers, which enlarge a small image given "
        "beside the noisy one and are no priors; "
    )


def whole_sets(
    tensors: Tensors, name: str, kind: Kind, weights: str | None, seems: str
) -> list[Fit]:
    """The sets of weights to convert, of which no tensor is missing or too much.

    Raises:
      ValueError: there is one that does not fit; ``seems`` begins the message.
    """
    fitting = fits(tensors, name, kind, weights)
    for fit in fitting:
        if not fit.perfect:
            good = len(fit.sources) - len(fit.missing) - len(fit.misshapen)
            raise ValueError(
                f"{seems}, as {fit.layout.about}: {good} of {len(fit.sources)} tensors fit; "
                f"{fit.problems()}; {upsampler(tensors)}nothing was converted"
            )
    return fitting
