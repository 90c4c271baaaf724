"""Which class every image is of, for priors that are asked by one: ``--class-label``."""

from pathlib import Path

import numpy as np

from dsg_jax.bounded import MAX_JSON, read_bounded
from dsg_jax.priors.edm import EDMNetwork
from dsg_jax.types import Prior
from experiments.files import say
from experiments.restore.measured import PosedProblem


def labelled(
    chosen: tuple[str, ...] | None, problems: list[PosedProblem], prior: Prior, card: dict
) -> list[PosedProblem]:
    """The problems with the classes of their images, where the prior takes any."""
    labels = class_labels(chosen, [posed.picture.name for posed in problems], prior, card)
    if labels is None:
        return problems
    return [
        posed._replace(
            problem=posed.problem._replace(label=np.int32(label)),
            inputs=posed.inputs | {"class": label},
        )
        for posed, label in zip(problems, labels, strict=True)
    ]


def class_labels(
    chosen: tuple[str, ...] | None, names: list[str], prior: Prior, card: dict
) -> list[int] | None:
    """The class of every image; None where the prior takes none, or was loaded with one.

    Args:
      chosen: one class for all, one for each image in their order, or a text file with a line for
        each: its name, with or without an ending, and its class.
      names: of the images, without endings.
      prior: that restores them.
      card: its card, whose "classes" are how many there are.

    Raises:
      ValueError: something is missing or too much, or is no class.
    """
    classes = card.get("classes")
    if chosen is None:
        if not classes or getattr(prior.network, "label", 0) is not None:
            return None
        if not isinstance(prior.network, EDMNetwork):
            raise ValueError(
                f"--class-label is missing: the prior is asked by a class from 0 to {classes - 1}: "
                "give one for all images, one for each, or a file with lines of NAME CLASS"
            )
        say(
            f"the prior has {classes} classes and is asked without one, by a row of zeros that it"
            " may not have been trained with: --class-label names them",
            once=True,
        )
        return None
    if not classes:
        raise ValueError(f"--class-label {' '.join(chosen)}: the prior takes no class: drop it")
    if len(chosen) == 1 and Path(chosen[0]).is_file():
        words = listed_in(Path(chosen[0]), names)
    else:
        words = list(chosen) * len(names) if len(chosen) == 1 else list(chosen)
    if len(words) != len(names):
        raise ValueError(
            f"--class-label has {len(words)} classes for {len(names)} images: give one for all, one"
            " for each, or a file with lines of NAME CLASS"
        )
    for word in words:
        if not (word.isdecimal() and int(word) < classes):
            raise ValueError(
                f"--class-label {word}: give classes from 0 to {classes - 1}, or a file of them"
            )
    return [int(word) for word in words]


def listed_in(path: Path, names: list[str]) -> list[str]:
    """What a file of lines, NAME CLASS or NAME,CLASS, says of the images.

    Raises:
      ValueError: a line of another form, or none for an image.
    """
    lines = read_bounded(path, MAX_JSON).decode("utf-8", "replace").splitlines()
    pairs = [line.replace(",", " ").rsplit(maxsplit=1) for line in lines if line.strip()]
    odd = next((pair for pair in pairs if len(pair) != 2), None)
    if odd:
        raise ValueError(f"--class-label {path} has the line {odd[0][:80]!r}: give NAME CLASS")
    table = {key: label for name, label in pairs for key in (Path(name).stem, name)}
    missing = [name for name in names if name not in table]
    if missing:
        raise ValueError(f"--class-label {path} has no line for the image {missing[0]}: add one")
    return [table[name] for name in names]
