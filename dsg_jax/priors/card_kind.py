"""What follows from the "kind" of a card; `kinds.CARD_KINDS` has one of these for each."""

from collections.abc import Callable
from typing import Any, NamedTuple

from dsg_jax.priors.passes import Pass

# Part of a kind -> its configuration. Where conditions are stored, "conditions" -> their shape, (n,
# tokens, dim).
Architecture = dict[str, Any]
Shapes = dict[str, tuple[int, ...]]


class CardKind(NamedTuple):
    """What follows from a card's "kind".

    Attributes:
      parts: names and types of the configurations. A card has each under its name as
        "architecture"; one that is alone has its fields there.
      structs: -> the tree of parameters in the folder, as structs.
      build: (card, architecture, parameters, compute type) -> what loading the folder gives.
      facts: -> entries of the card that follow from the architecture.
      inputs: -> shapes (NCHW) of small inputs of the passes, by name.
      passes: (card, architecture) -> what the networks compute.
      needed: entries that whoever writes the folder must add to the card.
    """

    parts: dict[str, type]
    structs: Callable[[Architecture], dict]
    build: Callable[[dict, Architecture, dict, str], Any]
    facts: Callable[[Architecture], dict]
    inputs: Callable[[Architecture], Shapes]
    passes: Callable[[dict, Architecture], tuple[Pass, ...]]
    needed: tuple[str, ...] = ()
