"""Many devices: pairs of an image and a sample are split over them, parameters copied or split.

    mesh = data_mesh()                                    # every device of this process
    prior = place_parameters(prior, mesh, "sharded")
    restore = over_pairs(restore, mesh, "sharded")        # restore((keys, problems), prior)
    images, info = restore((keys, problems), prior)

Every device works on its own pairs. With replicated parameters the devices say nothing to each
other; with sharded ones they put the parameters together, piece by piece, where they are used.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.tree_util import Partial

from dsg_jax.types import Prior

# The mesh's one axis.
PAIRS = "pairs"


def data_mesh(count: int | None = None) -> Mesh:
    """The first ``count`` devices of this process (None: all of them) as a mesh of one axis.

    Raises:
      ValueError: there are not so many.
    """
    devices = jax.local_devices()
    count = len(devices) if count is None else count
    if not 1 <= count <= len(devices):
        kind = devices[0].platform
        raise ValueError(f"{count} devices: give 1 to {len(devices)}, the {kind} devices here")
    return jax.make_mesh((count,), (PAIRS,), axis_types=(AxisType.Auto,), devices=devices[:count])


def replicated(mesh: Mesh, leaf: Any) -> NamedSharding:
    """A whole copy of the array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def fully_sharded(mesh: Mesh, leaf: Any, least: int = 2**14) -> NamedSharding:
    """The array cut along its longest axis that the devices divide, the last one of equal length.

    One that they do not divide, or of fewer than ``least`` elements (biases, schedules), is copied.
    The cut arrays are put together again where the network uses them.
    """
    axes = [i for i, n in enumerate(leaf.shape) if n % mesh.size == 0]
    if not axes or math.prod(leaf.shape) < least:
        return replicated(mesh, leaf)
    longest = max(axes, key=lambda i: (leaf.shape[i], i))
    names = [PAIRS if i == longest else None for i in range(len(leaf.shape))]
    return NamedSharding(mesh, PartitionSpec(*names))


# How parameters lie on a mesh -> the sharding of an array, or of its struct, on a mesh.
PARAMETERS: dict[str, Callable[[Mesh, Any], NamedSharding]] = {
    "replicated": replicated,
    "sharded": fully_sharded,
}


def parameter_placement(mesh: Mesh, how: str) -> Callable[[Any], NamedSharding]:
    """The ``placement`` of `priors.load_prior`: parameters are read onto the mesh at once.

    Raises:
      ValueError: ``how`` is no key of `PARAMETERS`.
    """
    _check_parameters(how)
    return partial(PARAMETERS[how], mesh)


def _check_parameters(how: str) -> None:
    if how not in PARAMETERS:
        raise ValueError(f"parameters {how!r}: choose from {', '.join(PARAMETERS)}")


def place_parameters(tree: Any, mesh: Mesh, how: str = "replicated") -> Any:
    """Put the jax arrays of a tree (a prior) onto a mesh; those that lie there stay where they are.

    Raises:
      ValueError: ``how`` is no key of `PARAMETERS`.
    """
    placement = parameter_placement(mesh, how)
    put = lambda leaf: jax.device_put(leaf, placement(leaf))
    return jax.tree.map(lambda leaf: put(leaf) if isinstance(leaf, jax.Array) else leaf, tree)


def placement_of(tree: Any) -> tuple[Mesh | None, str]:
    """Where the arrays of a tree lie: mesh and key of `PARAMETERS`; None for a single device."""
    placed = [leaf.sharding for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)]
    named = [s for s in placed if isinstance(s, NamedSharding) and s.mesh.size > 1]
    whole = all(sharding.is_fully_replicated for sharding in named)
    meshes = [sharding.mesh for sharding in named if isinstance(sharding.mesh, Mesh)]
    return (meshes[0] if meshes else None), ("replicated" if whole else "sharded")


def place_pairs(tree: Any, mesh: Mesh, axes: Any = 0) -> Any:
    """Split the arrays of a tree over the devices along their first axis, whose length they divide.

    ``axes`` is 0, or an entry for every array: 0, or None for one that all pairs share, which is
    copied.
    """
    splits = {0: NamedSharding(mesh, PartitionSpec(PAIRS)), None: replicated(mesh, None)}
    if axes == 0:
        return jax.device_put(tree, splits[0])
    leaves, structure = jax.tree.flatten(tree)
    placed = [jax.device_put(leaf, splits[axis]) for leaf, axis in zip(leaves, axes, strict=True)]
    return jax.tree.unflatten(structure, placed)


def pair_sharding(mesh: Mesh, form: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """The struct of an array that is split over the devices along its first axis."""
    split = NamedSharding(mesh, PartitionSpec(PAIRS))
    return jax.ShapeDtypeStruct(form.shape, form.dtype, sharding=split)


def full_width(mesh: Mesh, count: int) -> int:
    """The smallest multiple of the number of devices that is at least ``count``."""
    return -(-count // mesh.size) * mesh.size


def split_pairs(batched: Callable, mesh: Mesh, specs: tuple, parameters: str) -> Callable:
    """``batched`` as it runs on a mesh, not yet jitted.

    With replicated parameters every device runs the program of its own pairs (`jax.shard_map`), and
    no device waits for another. With sharded ones XLA partitions the program by where its arguments
    lie, and the devices exchange parameters.

    Args:
      batched: a function of batches, and of what all pairs share.
      mesh: `data_mesh`.
      specs: for every argument, a `PartitionSpec` or a tree of them; every result has the pairs
        first.
      parameters: a key of `PARAMETERS`.

    Raises:
      ValueError: it is none.
    """
    _check_parameters(parameters)
    out = PartitionSpec(PAIRS)
    if parameters == "replicated":
        return jax.shard_map(batched, mesh=mesh, in_specs=specs, out_specs=out, check_vma=False)
    split = NamedSharding(mesh, out)
    return lambda *args: jax.lax.with_sharding_constraint(batched(*args), split)


def gathered_late(prior: Prior) -> Prior:
    """The prior with networks that put their parameters together in each call.

    XLA would do it once, before the loops around the calls, and hold all of them whole meanwhile.
    """
    stage = prior.first_stage
    if stage is not None:
        decode, encode = Partial(_anew, stage.decode), Partial(_anew, stage.encode)
        stage = stage._replace(decode=decode, encode=encode)
    return prior._replace(network=Partial(_anew, prior.network), first_stage=stage)


def _anew(function: Callable, x: Array, *rest: Any) -> Array:
    function, x = jax.lax.optimization_barrier((function, x))  # x is another one in every turn
    return function(x, *rest)


def over_pairs(batched: Callable, mesh: Mesh, parameters: str = "replicated") -> Callable:
    """``batched(pairs, *shared)`` for any number of pairs, split over the devices of a mesh.

    A batch that the devices do not divide is filled up by its last pair; what comes of the filling
    is dropped.

    Args:
      batched: `jax.vmap` of a function of one pair; all arrays of ``pairs`` (keys, problems), and
        of the result, have one leading axis of the same length n.
      mesh: `data_mesh`.
      parameters: how the arrays of ``shared`` lie (`place_parameters`), a key of `PARAMETERS`.

    Returns:
      A function like ``batched``, compiled once for every number of pairs to a device.

    Raises:
      ValueError: ``parameters`` is no key of `PARAMETERS`.
    """
    _check_parameters(parameters)

    @jax.jit
    def program(pairs: Any, *shared: Any) -> Any:
        specs = (PartitionSpec(PAIRS), *[PartitionSpec()] * len(shared))
        return split_pairs(batched, mesh, specs, parameters)(pairs, *shared)

    def on_mesh(pairs: Any, *shared: Any) -> Any:
        n = len(jax.tree.leaves(pairs)[0])
        missing = full_width(mesh, n) - n
        fill = lambda leaf: jnp.concatenate([leaf, *[leaf[-1:]] * missing])
        result = program(place_pairs(jax.tree.map(fill, pairs), mesh), *shared)
        return jax.tree.map(lambda leaf: leaf[:n], result)

    return on_mesh
