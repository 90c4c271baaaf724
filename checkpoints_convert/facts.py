"""What the tensors of a file do not say, such as the schedule: known of published networks only."""

import json
import reprlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from checkpoints_convert.kinds import Kind
from checkpoints_convert.read.stored import StoredTensor
from dsg_jax.bounded import read_json
from dsg_jax.priors.cards import check_entries, config_of
from dsg_jax.priors.folder import naming_card
from dsg_jax.schedule import linear_betas, scaled_linear_betas

# Entries of a card that have to be said of a network that is not the published one.
FACTS = "parametrisation", "size", "betas", "latent_scale", "clock"


def with_architecture(kind: Kind, path: Path) -> Kind:
    """The kind with the architecture and the facts that a JSON file says of another network.

    Raises:
      ValueError: the file is no JSON, has entries or fields that the kind does not have, lacks one
        of its `FACTS`, or describes no network.
    """
    entries, facts = read_json(path), {name: kind.card[name] for name in FACTS if name in kind.card}
    known = [*kind.architecture, *facts]
    unknown = sorted(set(entries) - set(known)) if isinstance(entries, dict) else [entries]
    if unknown:
        raise ValueError(
            f"{path} has {reprlib.repr(unknown)}; the parts of this kind are "
            f"{', '.join(known) or 'none'}"
        )
    missing = {name: fact for name, fact in facts.items() if name not in entries}
    if missing:
        raise ValueError(
            f"{path} describes another network than the published one, of which nobody knows "
            f"{', '.join(missing)}: add what is true of it, in the form {json.dumps(missing)}"
        )
    card = kind.card | {name: entries.pop(name) for name in facts}
    check_entries({name: card[name] for name in facts}, str(path))
    if type(card.get("betas")) is str and card["betas"] != facts["betas"]:
        raise ValueError(f"{path} has betas {card['betas']!r}; read are {facts['betas']!r}")
    configs = {}
    for part, value in entries.items():
        published = kind.architecture[part]
        fields = isinstance(published, tuple) and isinstance(value, dict)
        with naming_card(path):
            configs[part] = config_of(value, type(published)) if fields else value
        if type(configs[part]) is not type(published) or configs[part] == 0:
            like = "fields by name" if isinstance(published, tuple) else f"one like {published!r}"
            raise ValueError(f"{path} has {reprlib.repr(value)} for {part}; wanted: {like}")
    if "learned_variance" in card and "unet" in configs:
        card["learned_variance"] = configs["unet"].out_channels == 2 * configs["unet"].in_channels
    changed = kind._replace(architecture=kind.architecture | configs, card=card)
    with naming_card(path):
        changed.structs()
    return changed


def check_schedule(tensors: Mapping[str, StoredTensor], kind: Kind, named: str) -> None:
    """Refuse a file whose own schedule is not the one that its card would have.

    Raises:
      ValueError: it is not.
    """
    stated = kind.card.get("betas")
    stored = next((tensors[name] for name in tensors if name.rpartition(".")[2] == "betas"), None)
    if stated is None or stored is None:
        return
    ours = scaled_linear_betas(**stated) if isinstance(stated, dict) else linear_betas()
    if stored.shape != ours.shape or not np.allclose(stored.read(), ours, rtol=1e-3, atol=0):
        ends = stored.read().ravel()[[0, -1]].tolist() if stored.nbytes else []
        raise ValueError(
            f"{named} has a schedule of {stored.shape} betas from and to {ends}, and this kind one "
            f"of {ours.shape} from and to {ours[[0, -1]].tolist()}: say the file's by "
            "--architecture"
        )
