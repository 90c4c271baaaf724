"""Whether the tensors of a file are those of a kind, and which kind's they are.

Only names, shapes and types are looked at. A kind fits when every tensor of its networks is there
with its shape and every other one is left out for a reason; otherwise nothing is converted.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from itertools import islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from checkpoints_convert.kind import Kind
from checkpoints_convert.kinds import KINDS
from checkpoints_convert.layouts import Layout
from dsg_jax.priors.streaming import tree_name

OUTSIDE = "of the training run, outside of the weights"
OTHER_SET = {
    "ema": "weights being trained; the averaged ones were chosen",
    "raw": "averaged weights; those being trained were chosen",
}
ONLY_SET = "the file's only set"


# Name in the file -> `stored.StoredTensor`, or anything with ``shape`` and ``dtype``.
Tensors = Mapping[str, Any]


class Fit(NamedTuple):
    """A kind compared with a file.

    Attributes:
      weights: "ema", "raw" or `ONLY_SET`.
      structs: the networks' parameters.
      sources: names in the file of the leaves of ``structs``, in order.
      dropped: reason -> names that are left out.
    """

    kind: str
    layout: Layout
    weights: str
    structs: dict
    sources: list[str] = []
    missing: list[str] = []
    extra: list[str] = []
    misshapen: list[str] = []
    dropped: dict[str, list[str]] = {}

    @property
    def perfect(self) -> bool:
        """Whether the file can be converted."""
        return not (self.missing or self.extra or self.misshapen)

    def problems(self) -> str:
        """The counts, and five of each, with the nearest name for what is missing."""
        lists = {
            "missing": with_nearest(self.missing, self.extra),
            "not part of the model": self.extra,
            "of another shape or type": self.misshapen,
        }
        return "; ".join(excerpt(problem, names) for problem, names in lists.items() if names)


def unwrapped(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors by their names without the parts that wrappers add anywhere in them.

    These are `DataParallel`'s "module" and `torch.compile`'s "_orig_mod". Names that would then be
    equal stay as they are.
    """
    bare = {name: re.sub(r"(?<![^.])(module|_orig_mod)\.", "", name) for name in tensors}
    counts = Counter(bare.values())
    return {bare[n] if counts[bare[n]] == 1 else n: tensor for n, tensor in tensors.items()}


def our_name(path: tuple) -> str:
    """("unet", "out.2", "kernel") -> "unet.out.2.weight", from a path of `jax.tree_util`.

    Our modules carry the checkpoints' names, except that the leaves ``kernel`` and ``scale`` are
    both called ``weight`` there.
    """
    *modules, leaf = tree_name(path).split("/")
    return ".".join([*modules, "weight" if leaf in ("kernel", "scale") else leaf])


def excerpt(problem: str, keys: list[str]) -> str:
    """("missing", [...]) -> "7 missing: a, b, c, d, e, ..."."""
    return f"{len(keys)} {problem}: {', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''}"


def with_nearest(missing: list[str], left_over: Iterable[str]) -> list[str]:
    """Add the most similar left-over name to those missing names that an excerpt shows."""
    shown, rest = missing[:5], missing[5:]
    candidates = [name for name in islice(left_over, 1000) if len(name) < 200]  # it takes long
    nearest = [get_close_matches(key, candidates, n=1) for key in shown]
    pairs = zip(shown, nearest, strict=True)
    return [f"{key} (nearest is {near[0]})" if near else key for key, near in pairs] + rest


def torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in which PyTorch stores one of our parameters: HWIO -> OIHW, (i, o) -> (o, i)."""
    if len(shape) == 4:
        return (shape[3], shape[2], shape[0], shape[1])
    if len(shape) == 3:  # a table of conditions (n, 1, dim)
        return (shape[0], shape[2])
    return shape[::-1]


def same_shape(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether shapes agree, but for ones between a 1x1 convolution and a linear layer or vector."""
    if len(a) == len(b):
        return a == b
    return [n for n in a if n != 1] == [n for n in b if n != 1]


def to_layout(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """PyTorch's array as a view in the layout of our parameter of the given shape."""
    value = value.reshape(torch_shape(shape))
    if len(shape) == 4:
        return value.transpose(2, 3, 1, 0)
    return value.reshape(shape) if len(shape) == 3 else value.T


def recognise(tensors: Tensors) -> tuple[str, str]:
    """The kind that a file resembles most, and why, by the tensors that tell kinds apart.

    Raises:
      ValueError: no kind has a name in common with it.
    """
    scores = {
        name: max(_score(tensors, kind, layout) for layout in kind.layouts)
        for name, kind in KINDS.items()
    }
    best = max(scores, key=lambda name: scores[name][0])
    points, reasons = scores[best]
    if not points:
        names = ", ".join(list(tensors)[:3])
        raise ValueError(
            f"it is no known kind: none of the tensors that tell kinds apart is among its "
            f"{len(tensors)}, which start with {names} (see `list` and `inspect`)"
        )
    return best, reasons


def fits(tensors: Tensors, name: str, kind: Kind, weights: str | None = None) -> list[Fit]:
    """A kind compared with a file, for each set of weights that was asked for.

    Args:
      tensors: what the file holds.
      name: the kind's.
      kind: what it should hold.
      weights: "ema", "raw", "both", or None for "ema" where the file has it.

    Raises:
      ValueError: a set of weights that the file does not have.
    """
    layout = max(kind.layouts, key=lambda layout: _score(tensors, kind, layout)[0])
    points = {o: _score(tensors, kind, layout._replace(outer=(o,)))[0] for o in layout.outer}
    outer, *others = [o for o in layout.outer if points[o] == max(points.values())]
    if others and points[outer]:
        raise ValueError(f"the file holds weights under {[outer, *others]}: save one of them alone")
    structs = kind.structs()
    names = [our_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(structs)]
    sets = {"raw": [outer + layout.name(name) for name in names]}
    if layout.averaged:
        sets = {"ema": [outer + layout.averaged(name) for name in names]} | sets
    shared = set.intersection(*map(set, sets.values())) if len(sets) > 1 else set()
    in_file = lambda sources: any(n in tensors for n in sources if n not in shared)
    present = [s for s, sources in sets.items() if in_file(sources)] or ["raw"]
    chosen = present if weights == "both" else [weights or present[0]]
    if not set(chosen) <= set(present) or (weights == "both" and len(present) < 2):
        raise ValueError(
            f"the file has no weights {weights!r}: it has one set only, so leave --weights out"
        )
    blank = Fit(name, layout, ONLY_SET, structs)
    if len(present) == 1:
        return [_fit(tensors, blank, sets, chosen[0], outer)]
    return [_fit(tensors, blank._replace(weights=s), sets, s, outer) for s in chosen]


def _fit(tensors: Tensors, blank: Fit, sets: dict[str, list[str]], chosen: str, outer: str) -> Fit:
    """The comparison with one set of weights, filled in."""
    sources, structs = sets[chosen], jax.tree.leaves(blank.structs)
    missing = [source for source in sources if source not in tensors]
    misshapen = [
        f"{source} ({tensors[source].shape} {tensors[source].dtype}, "
        f"wanted as {torch_shape(struct.shape)})"
        for source, struct in zip(sources, structs, strict=True)
        if source in tensors and not _suits(tensors[source], struct)
    ]
    others = {n for s, names in sets.items() if s != chosen for n in names} - set(sources)
    dropped: dict[str, list[str]] = {}
    extra = []
    for name in tensors.keys() - set(sources):
        reason = OTHER_SET[chosen] if name in others else _reason(name, blank.layout, outer)
        if reason is None:
            extra.append(name)
        else:
            dropped.setdefault(reason, []).append(name)
    dropped = {reason: sorted(dropped[reason]) for reason in sorted(dropped)}
    return blank._replace(
        sources=sources, missing=missing, extra=sorted(extra), misshapen=misshapen, dropped=dropped
    )


def _reason(name: str, layout: Layout, outer: str) -> str | None:
    if not name.startswith(outer):
        return OUTSIDE
    inner = name.removeprefix(outer)
    return next((why for pattern, why in layout.dropped if re.match(pattern, inner)), None)


def _suits(tensor: Any, struct: jax.ShapeDtypeStruct) -> bool:
    floating = jnp.issubdtype(tensor.dtype, jnp.floating)
    return floating and same_shape(tensor.shape, torch_shape(struct.shape))


def _score(tensors: Tensors, kind: Kind, layout: Layout) -> tuple[int, str]:
    """Two points for each tensor of the signature with its shape, one for its name alone."""
    points, reasons = 0, []
    namers = [layout.name, *([layout.averaged] if layout.averaged else [])]
    for name, shape in kind.signature.items():
        names = (outer + namer(name) for outer in layout.outer for namer in namers)
        match = next((n for n in names if n in tensors), None)
        if match is not None:
            points += 2 if same_shape(tensors[match].shape, shape) else 1
            reasons.append(f"{match} {tensors[match].shape}")
    return points, ", ".join(reasons)
