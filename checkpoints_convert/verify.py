"""`verify`: is a converted folder still what was written, and does its network run?"""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from checkpoints_convert.parity import errors, outputs
from checkpoints_convert.recorded import Recorded, read_recorded
from dsg_jax.bounded import read_bounded
from dsg_jax.priors.files import TABLE, check_files, record_files
from dsg_jax.priors.folder import naming_card, read_card, read_weights
from dsg_jax.priors.kinds import CARD_KINDS, architecture_of, check_facts, structs_of
from dsg_jax.priors.streaming import Written, describe_array, tree_name

# Bounds on relative errors against recorded outputs, by the type of the stored kernels.
LIMITS = {"float32": 1e-4, "float16": 2e-3, "bfloat16": 2e-2}
_SHOWN, _MAX_TABLE = 5, 2**26


def plan_verify(folder: Path, against: Path | None) -> Callable[[], int]:
    """Read the card and the recorded arrays.

    Raises:
      ValueError, OSError: no folder of converted weights, or no recorded arrays.
    """
    card = read_card(folder, *CARD_KINDS)
    if "tensors_sha256" not in card or not (folder / "tensors.txt").is_file():
        raise ValueError(f"{folder} records no hashes: convert or export it anew")
    recorded = read_recorded(against) if against else None

    def work() -> int:
        with jax.default_matmul_precision("highest"):
            return verify(folder, card, recorded)

    return work


def verify(folder: Path, card: dict, recorded: Recorded | None = None) -> int:
    """Print what was checked; returns 0, or 1 if something is wrong.

    Raises:
      ValueError: the folder is not as a conversion leaves it, or nothing recorded can be compared.
    """
    table = read_bounded(folder / "tensors.txt", _MAX_TABLE)
    problems = []
    if (folder / TABLE).is_file():
        try:
            check_files(folder)
        except ValueError as error:
            problems.append(str(error))
    if hashlib.sha256(table).hexdigest() != card["tensors_sha256"]:
        problems.append("tensors.txt is not that of the card")
    rows = [line.split(" ") for line in table.decode("utf-8", "replace").splitlines()]
    if any(len(row) != len(Written._fields) or row[1] not in LIMITS for row in rows):
        raise ValueError(f"{folder}/tensors.txt is damaged: convert it anew")
    lines = [Written(*row) for row in rows]
    params = stored_params(folder, card, lines)
    differing, infinite = check_arrays(params, lines)
    for what, names in (("differ from their hash", differing), ("are not finite", infinite)):
        if names:
            problems.append(f"{len(names)} {what}: {', '.join(names[:_SHOWN])}")
    values = sum(leaf.size for leaf in jax.tree.leaves(params))
    print(f"{card.get('model', card['kind'])}: {len(lines)} tensors, {values:,} values")
    if not problems:
        params = jax.tree.map(partial(jnp.asarray, dtype=jnp.float32), params)
        check = _forward if recorded is None else partial(_against, recorded=recorded)
        problems = check(card, params)
    for problem in problems:
        print(f"  WRONG: {problem}")
    if not problems:
        if not (folder / TABLE).is_file():
            record_files(folder)  # of a folder that was written before there were such tables
        print("  hashes, shapes, finiteness and forward pass are right")
    return 1 if problems else 0


def stored_params(folder: Path, card: dict, lines: list[Written]) -> Any:
    """The parameters in the types in which they lie on disk.

    Raises:
      ValueError: the folder holds other tensors than its card and its table say.
    """
    with naming_card(folder / "card.json"):
        architecture = architecture_of(card)
        check_facts(card, architecture)
        structs = structs_of(card["kind"], architecture)
    types = {line.name: line.dtype for line in lines}
    names = {tree_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(structs)}
    if names != types.keys():
        odd = sorted(names ^ types.keys())
        raise ValueError(
            f"{folder}: {len(odd)} tensors are in only one of card and table: {odd[0]}; "
            "convert it anew"
        )
    typed = lambda path, leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(types[tree_name(path)]))
    return read_weights(folder, jax.tree_util.tree_map_with_path(typed, structs))


def check_arrays(params: Any, lines: list[Written]) -> tuple[list[str], list[str]]:
    """Names of those that differ from their hash, type or shape, and of those not finite."""
    written = {line.name: line for line in lines}
    differing, infinite = [], []
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name, array = tree_name(path), np.asarray(leaf)
        if describe_array(name, array, written[name].source) != written[name]:
            differing.append(name)
        if not np.isfinite(array).all():
            infinite.append(name)
    return differing, infinite


def small_inputs(card: dict) -> dict[str, np.ndarray]:
    """Random inputs of a small size that the kind takes, in PyTorch's layout."""
    rng = np.random.RandomState(0)
    shapes = CARD_KINDS[card["kind"]].inputs(architecture_of(card))
    draw = lambda shape: np.asarray(rng.standard_normal(shape), np.float32)
    arrays = {name: draw(shape) for name, shape in shapes.items()}
    chosen = {"t": np.array([500.0], np.float32), "y": np.array([0])}
    return {name: chosen.get(name, array) for name, array in arrays.items()}


def _forward(card: dict, params: Any) -> list[str]:
    """Run the network once on small random inputs."""
    problems = []
    for name, value in outputs(card, params, small_inputs(card)).items():
        if not np.isfinite(value).all():
            problems.append(f"the forward pass gives a {name} that is not finite")
        print(f"  forward pass: {name} {value.shape}, spread {np.std(value):.3g}")
    return problems


def _against(card: dict, params: Any, recorded: Recorded) -> list[str]:
    """Print the error of every recorded array; those beyond their bound are problems."""
    limit = LIMITS[card.get("dtype", "float32")]
    compared, problems = errors(card, params, recorded), []
    for name, error in compared.items():
        bound = max(limit, recorded.tolerance.get(name, 0.0))
        print(f"  {name}: relative error {error:.2e}, allowed {bound:.1e}")
        if not error <= bound:
            problems.append(f"{name} has relative error {error:.2e}")
    worst = max(compared, key=lambda name: compared[name])
    print(f"  worst of {len(compared)}: {worst}, {compared[worst]:.2e}")
    return problems
