"""What the entries of a card may be: a card is a file that anybody may have edited."""

import reprlib
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from dsg_jax.clock import PREDICTIONS

# Limits of what is built or computed; published networks are far below.
MAX_SIDE, MAX_CHANNELS, MAX_CODES, MAX_LEVELS, MAX_BLOCKS, MAX_TEXT = (
    2048,
    65536,
    2**20,
    10,
    64,
    200,
)


class Form(NamedTuple):
    """What a value is to be, and the words for it."""

    holds: Callable[[Any], bool]
    words: str


def _whole(least: int, most: int) -> Form:
    holds = lambda v: type(v) is int and least <= v <= most
    return Form(holds, f"a whole number from {least} to {most}")


def _one_of(*values: str) -> Form:
    return Form(lambda v: isinstance(v, str) and v in values, " or ".join(values))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e30


def _is_name(value: Any) -> bool:
    """A folder of results may be called after it."""
    short = isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isprintable()
    return short and not set(value) & set("/\\") and value[0] != "."


def _is_schedule(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_TEXT
    if not isinstance(value, dict) or not value.keys() <= {"start", "end", "steps"}:
        return False
    steps, ends = value.get("steps", 1000), [value.get("start", 0.0015), value.get("end", 0.0195)]
    return (
        _whole(2, 10000).holds(steps) and all(map(_is_number, ends)) and 0 < ends[0] < ends[1] < 1
    )


def _is_clock(value: Any) -> bool:
    """Names with numbers, words or, of a table, numbers; `clocks` knows what they mean."""
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        return False
    steps, betas = value.get("steps", 1000), value.get("betas", [])
    listed = isinstance(betas, list) and len(betas) <= 10000 and all(map(_is_number, betas))
    others = [other for name, other in value.items() if name != "betas"]
    plain = all(_is_number(v) or (isinstance(v, str) and len(v) <= MAX_TEXT) for v in others)
    return _whole(2, 10000).holds(steps) and listed and plain


def _is_scaling(value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() != {"mean", "std"}:
        return False
    return all(map(_is_number, value.values())) and value["std"] > 0


def _are_conditions(value: Any) -> bool:
    """Of ``shape`` (n, tokens, dim), with a name for each or none, and a ``default`` below n."""
    if not isinstance(value, dict):
        return False
    shape, names = value.get("shape"), value.get("names")
    if not isinstance(shape, list) or not isinstance(names, list) or len(shape) != 3:
        return False
    counts = all(_whole(1, MAX_CHANNELS).holds(n) for n in shape)
    texts = all(isinstance(name, str) and len(name) <= 1000 for name in names)
    return counts and texts and _whole(0, shape[0] - 1).holds(value.get("default"))


# Entries that are read, where a card has them.
ENTRIES: dict[str, Form] = {
    "name": Form(_is_name, "a name for a folder"),
    "model": Form(_is_name, "a name for a folder"),
    "samples": Form(_is_name, "a set of samples"),
    "parametrisation": _one_of(*PREDICTIONS),
    "size": _whole(1, MAX_SIDE),
    "classes": _whole(1, MAX_CHANNELS),
    "learned_variance": Form(lambda v: type(v) is bool, "true or false"),
    "scaling": Form(_is_scaling, "mean and std > 0, of states (value - mean) / (2 std)"),
    "latent_scale": Form(lambda v: _is_number(v) and v > 0, "a number > 0"),
    "betas": Form(_is_schedule, "start, end and steps of a schedule, 0 < start < end < 1"),
    "clock": Form(_is_clock, "a kind of clock with its numbers"),
    "conditions": Form(_are_conditions, "shape, names and default of stored conditions"),
    "dtype": _one_of("float32", "bfloat16", "float16"),
    "parameters": _whole(0, 2**60),
    "tensors_sha256": Form(lambda v: isinstance(v, str) and len(v) <= 64, "a SHA-256"),
}


def check_entries(card: dict, named: str) -> None:
    """Refuse a card with an entry that nothing can be built from.

    Raises:
      ValueError: it has one.
    """
    for name, form in ENTRIES.items():
        if name in card and not form.holds(card[name]):
            value = reprlib.repr(card[name])
            raise ValueError(f"{named} has {name} {value}; wanted is {form.words}")


def config_of(architecture: dict, config: Any) -> Any:
    """A configuration from its JSON form.

    Args:
      architecture: fields by name; those that are left out have their defaults.
      config: the type of named tuple to make.

    Raises:
      ValueError: it is no object of fields, has some that ``config`` does not have, or values that
        `check_architecture` refuses.
    """
    if not isinstance(architecture, dict):
        value = reprlib.repr(architecture)
        raise ValueError(f"architecture {value}: wanted are fields by name")
    unknown = sorted(set(architecture) - set(config._fields))
    if unknown:
        raise ValueError(
            f"this program knows no architecture with {reprlib.repr(unknown)}; known are "
            f"{', '.join(config._fields)}"
        )
    as_tuples = {k: tuple(v) if isinstance(v, list) else v for k, v in architecture.items()}
    configured = config(**as_tuples)
    check_architecture(configured)
    return configured


def check_architecture(config: Any) -> None:
    """Refuse numbers of layers and channels of which no network could be built in time.

    Args:
      config: a named tuple of the annotated types.

    Raises:
      ValueError: a field of another type or beyond its limit, or too many blocks together.
    """
    for name, hint in get_type_hints(type(config)).items():
        form, value = _form(name, hint), getattr(config, name)
        if not form.holds(value):
            raise ValueError(
                f"an architecture with {name} {reprlib.repr(value)}: wanted is {form.words}"
            )
    levels = getattr(config, "channel_mult", getattr(config, "block_out_channels", ()))
    each = getattr(config, "num_res_blocks", getattr(config, "layers_per_block", 0)) + 1
    if (blocks := len(levels) * each) > MAX_BLOCKS:
        raise ValueError(f"an architecture of {blocks} blocks: at most {MAX_BLOCKS} are built")


def _form(name: str, hint: Any) -> Form:
    members = get_args(hint) if get_origin(hint) in (UnionType, Union) else (hint,)
    absent = NoneType in members
    form = _present(name, tuple(member for member in members if member is not NoneType))
    return Form(lambda v: form.holds(v) or (absent and v is None), form.words)


def _present(name: str, members: tuple) -> Form:
    if get_origin(members[0]) is Literal:
        return _choice(get_args(members[0]))
    if bool in members:
        return Form(lambda v: type(v) is bool, "true or false")
    if float in members:
        return Form(lambda v: _is_number(v) and v >= 0, "a number >= 0")
    if int in members:
        named = {"num_head_channels": -1, "num_heads_upsample": -1, "num_res_blocks": 0}
        most = MAX_BLOCKS if "block" in name else MAX_CODES if name == "codes" else MAX_CHANNELS
        return _whole(named.get(name, 1), most)
    most = MAX_CHANNELS if name == "block_out_channels" else 1024
    entry, least = get_args(members[0])[0], int(not name.startswith("attention"))
    each = _choice(get_args(entry)) if get_origin(entry) is Literal else _whole(1, most)
    if float in get_args(entry):  # ADM of 512 px
        whole = each
        each = Form(lambda v: whole.holds(v) or v == 0.5, f"{whole.words} or 0.5")
    holds = lambda v: (
        isinstance(v, tuple) and least <= len(v) <= MAX_LEVELS and all(map(each.holds, v))
    )
    return Form(holds, f"a list of {least} to {MAX_LEVELS}, each {each.words}")


def _choice(values: tuple) -> Form:
    holds = lambda v: any(type(v) is type(one) and v == one for one in values)
    return Form(holds, " or ".join(map(str, values)))
