"""What a plan of `restore` consists of: the words that every module of this folder speaks."""

from pathlib import Path
from typing import Any, NamedTuple

from dsg_jax.types import Prior, Problem, Projection
from experiments.images import Picture
from experiments.settings import RestoreSettings


class Item(NamedTuple):
    """One posterior sample of one image."""

    picture: Picture
    sample: int
    problem: Problem
    identity: str
    """Hash of everything that influences the result."""
    png: str
    """Where the restored image goes, relative to the output folder."""


class Job(NamedTuple):
    """The items that share one compiled program."""

    task: str
    label: str
    """Folder of the images, and name of the method in every record and row."""
    title: str
    """The method as a heading."""
    seed: int
    shape: tuple[int, int, int]
    """Of the images."""
    solver: str
    """Key of `SOLVERS`."""
    solver_settings: Any
    """The solver's registered settings."""
    projection: Projection | None
    facts: dict
    """What the method and its settings are, as JSON values."""
    items: list[Item]


class Plan(NamedTuple):
    """A run, ready to start."""

    out: Path
    prior: Prior
    jobs: list[Job]
    settings: RestoreSettings
