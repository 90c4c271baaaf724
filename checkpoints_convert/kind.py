"""What is known of a published model, and what follows from its architecture."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from checkpoints_convert.layouts import Layout
from dsg_jax.priors.kinds import Architecture, structs_of

# Our name of a tensor -> its shape in the file.
Signature = dict[str, tuple[int, ...]]


class Kind(NamedTuple):
    """A published model: what its file holds and what its card says.

    Attributes:
      origin: names of the files, size, and who published them.
      card_kind: key of `dsg_jax.priors.kinds.CARD_KINDS`: what the converted folder is.
      architecture: the card kind's parts; "classes" is the number of rows of a class table.
      signature: what tells this kind from the others at little cost.
      card: entries of its card that the architecture does not say.
      prompts: key of `prompts.ENCODERS`, of whose embeddings some are to be stored; "" for none.
      named: pattern of its files' names, where another kind has the same names and shapes.
      read: the architecture that a file's tensors tell, where it is no published one.
    """

    origin: str
    card_kind: str
    architecture: Architecture
    layouts: tuple[Layout, ...]
    signature: Signature
    card: dict = {}
    prompts: str = ""
    named: str = ""
    read: Callable[[Mapping[str, Any]], Architecture] | None = None

    def of(self, tensors: Mapping[str, Any]) -> "Kind":
        """The kind with the architecture of a file.

        Raises:
          ValueError: the tensors are of no such network.
        """
        return self if self.read is None else self._replace(architecture=self.read(tensors))

    @property
    def stored_architecture(self) -> Architecture:
        """The architecture as `CARD_KINDS` takes it: classes are conditions of one token."""
        parts = dict(self.architecture)
        if "classes" in parts:
            parts["conditions"] = (parts.pop("classes"), 1, parts["unet"].context_dim)
        return parts

    def structs(self) -> dict:
        """The tensors that the file must hold, as our parameters, by `jax.eval_shape`."""
        return structs_of(self.card_kind, self.stored_architecture)
