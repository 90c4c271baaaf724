"""What names and shapes do not say of a network: the schedule, what it predicts, the image size.

A published network's kind knows it. What a file says of itself wins over that, with a word; what
neither knows is asked for.
"""

import json
import reprlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from checkpoints_convert.kind import Kind
from checkpoints_convert.schedules import (
    entry_of,
    same_schedule,
    schedule_words,
    with_schedule,
)
from dsg_jax.bounded import read_json
from dsg_jax.priors.cards import check_entries, config_of
from dsg_jax.priors.clocks import clock_entry, clock_of_card
from dsg_jax.priors.folder import naming_card

# Entries of a card that have to be said of a network that is not the published one.
FACTS = "parametrisation", "size", "betas", "latent_scale", "clock"


def told_facts(
    betas: list[str] | None, size: int | None, parametrisation: str | None
) -> dict[str, object]:
    """The facts that options say.

    Raises:
      ValueError: no such schedule.
    """
    told: dict[str, object] = {"parametrisation": parametrisation, "size": size}
    told["betas"] = None if betas is None else entry_of(betas, "--betas")
    return {name: fact for name, fact in told.items() if fact is not None}


def with_architecture(
    kind: Kind, path: Path, known: Iterable[str] = ()
) -> tuple[Kind, dict[str, object]]:
    """The kind with the architecture that a JSON file says of another network, and its facts.

    Args:
      kind: the published one.
      path: the file.
      known: those of its `FACTS` that are known already.

    Raises:
      ValueError: the file is no JSON, has entries or fields that the kind does not have, lacks one
        of its `FACTS`, or describes no network.
    """
    entries, facts = read_json(path), {name: kind.card[name] for name in FACTS if name in kind.card}
    fields = [*kind.architecture, *facts]
    unknown = sorted(set(entries) - set(fields)) if isinstance(entries, dict) else [entries]
    if unknown:
        raise ValueError(
            f"{path} has {reprlib.repr(unknown)}; the parts of this kind are "
            f"{', '.join(fields) or 'none'}"
        )
    missing = {n: fact for n, fact in facts.items() if n not in entries and n not in known}
    if missing:
        raise ValueError(
            f"{path} describes another network than the published one, of which nobody knows "
            f"{', '.join(missing)}: add what is true of it, in the form {json.dumps(missing)}, or "
            "give --parametrisation, --size and --betas"
        )
    told = {name: entries.pop(name) for name in facts if name in entries}
    check_entries({name: fact for name, fact in told.items() if name != "betas"}, str(path))
    if "betas" in told:
        is_published = told["betas"] == facts["betas"]
        entry = clock_entry(kind.card) if is_published else entry_of(told["betas"], str(path))
        told["betas"] = entry
    configs = {}
    for part, value in entries.items():
        published = kind.architecture[part]
        described = isinstance(published, tuple) and isinstance(value, dict)
        with naming_card(path):
            configs[part] = config_of(value, type(published)) if described else value
        if type(configs[part]) is not type(published) or configs[part] == 0:
            like = "fields by name" if isinstance(published, tuple) else f"one like {published!r}"
            raise ValueError(f"{path} has {reprlib.repr(value)} for {part}; wanted: {like}")
    card = dict(kind.card)
    if "learned_variance" in card and "unet" in configs:
        card["learned_variance"] = configs["unet"].out_channels == 2 * configs["unet"].in_channels
    changed = kind._replace(architecture=kind.architecture | configs, card=card)
    with naming_card(path):
        changed.structs()
    return changed, told


def with_facts(kind: Kind, told: dict, stored: dict, named: str) -> tuple[Kind, list[str]]:
    """The kind with what its user and its file say, and in words where that differs from it.

    Args:
      kind: what is converted.
      told: `FACTS` by name; "betas" as the entry "clock" of a card.
      stored: likewise, what the file says.
      named: the file.

    Raises:
      ValueError: user and file contradict each other, or the kind has no such entry.
    """
    card, words = dict(kind.card), []
    for name in [name for name in FACTS if name in told or name in stored]:
        if name not in card:
            if name in told:
                raise ValueError(f"--{name} {_word(told[name])}: this kind has none, leave it out")
            continue
        if name in told and name in stored and not _same(name, told[name], stored[name]):
            raise ValueError(
                f"{named} has {name} {_word(stored[name])}, and you say {_word(told[name])}: leave "
                "that out"
            )
        fact, expected = stored.get(name, told.get(name)), card[name]
        expected = clock_entry(card) if name == "betas" else expected
        if _same(name, fact, expected):
            continue
        who = "the file" if name in stored else "you"
        words.append(
            f"{name} {_word(fact)}, as {who} say{'s' * (who != 'you')}; the published "
            f"model has {_word(expected)}"
        )
        card = with_schedule(card, fact) if name == "betas" else card | {name: fact}
    if card.get("parametrisation") == "x0" and clock_entry(card) == {"kind": "adm"}:
        card["clock"] = {"kind": "table", "schedule": "linear"}  # of the same betas
    check_entries(card, named)
    if "betas" in card:
        with naming_card(Path(named)):
            clock_of_card(card)
    return kind._replace(card=card), words


def _same(name: str, one: object, other: object) -> bool:
    if name == "betas":
        return same_schedule(one, other)
    if isinstance(one, float) and isinstance(other, float):
        return bool(np.isclose(one, other, rtol=1e-5, atol=0))
    return one == other


def _word(fact: object) -> str:
    return schedule_words(fact) if isinstance(fact, dict) else f"{fact}"
