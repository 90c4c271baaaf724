"""What a plan of `restore` consists of: the words that every module of this folder speaks."""

from pathlib import Path
from typing import Any, NamedTuple

from dsg_jax.plug_ins import Guidance
from dsg_jax.types import Prior, Problem
from experiments.fields import Units
from experiments.images import Picture
from experiments.settings import RestoreSettings


class Item(NamedTuple):
    """One posterior sample of one image.

    Attributes:
      identity: hash of everything that influences the result.
      png: where the restored image goes, relative to the output folder.
      inputs: JSON values that stand for what its problem was made of.
    """

    picture: Picture
    sample: int
    problem: Problem
    identity: str
    png: str
    inputs: dict = {}


class Job(NamedTuple):
    """The items that share one compiled program.

    Attributes:
      label: folder of the images, and name of the method in every record and row.
      title: the method as a heading.
      shape: of the images.
      solver: key of `SOLVERS`.
      solver_settings: the solver's registered settings.
      facts: what the method and its settings are, as JSON values.
    """

    task: str
    label: str
    title: str
    seed: int
    shape: tuple[int, int, int]
    solver: str
    solver_settings: Any
    projection: Guidance
    facts: dict
    items: list[Item]


class Plan(NamedTuple):
    """A run, ready to start.

    Attributes:
      units: of the prior's states.
      names: of all images that its settings stand for, also beyond ``--count``.
    """

    out: Path
    prior: Prior
    jobs: list[Job]
    settings: RestoreSettings
    units: Units
    names: frozenset[str] = frozenset()
