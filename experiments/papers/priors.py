"""Which prior every solver of a table has, of those that ``--prior`` names.

PSLD's code samples with the averaged weights of its checkpoint, ReSample's with those being trained
(`SolverEntry.weights`): where both are there, a table has two latent priors.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dsg_jax.checkpoints import load_prior, prior_folder
from dsg_jax.priors import BUNDLED, PRIOR_KINDS
from dsg_jax.priors.folder import card_name, naming_card, read_card
from dsg_jax.priors.kinds import CARD_KINDS
from dsg_jax.solvers import SOLVERS, SolverEntry
from dsg_jax.types import Prior
from dsg_jax.user_code import is_user_code
from experiments.restore.plan import prior_identity, samples_of
from experiments.settings import Images

WEIGHTS = {"ema": "averaged weights (EMA)", "raw": "weights being trained (raw)"}


class Candidate(NamedTuple):
    """A prior that is named, and not loaded yet."""

    folder: Path
    card: dict

    @property
    def kind(self) -> str:
        """What it works on, as in `SolverEntry.prior`."""
        if "state" in self.card:  # of a user's function
            return self.card["state"]
        return "latent" if "first_stage" in CARD_KINDS[self.card["kind"]].parts else "pixel"

    @property
    def checkpoint(self) -> tuple:
        """What two sets of weights of one checkpoint have in common."""
        with naming_card(self.folder / "card.json"):
            files = [file["sha256"] for one in self.card.get("source", ()) for file in one["files"]]
            return self.card.get("name") or self.card["model"], *files


class ChosenPrior(NamedTuple):
    """The prior of a solver.

    Attributes:
      identity: `prior_identity`, computed once.
    """

    prior: Prior
    card: dict
    identity: str


# Solver -> its prior; a solver that has none is not there.
Priors = dict[str, ChosenPrior]


def candidates_at(name: str) -> list[Candidate]:
    """The prior of a bundled name, a folder or an original, or all priors in a folder of folders.

    Raises:
      FileNotFoundError: none is there.
      ValueError: a card that is damaged, or of no prior.
    """
    if is_user_code(name):
        return [Candidate(Path(name), load_prior(name)[1])]
    folder = prior_folder(name)
    if (folder / "card.json").is_file():
        return [Candidate(folder, read_card(folder, *PRIOR_KINDS))]
    cards = sorted(card for depth in ("*", "*/*") for card in folder.glob(f"{depth}/card.json"))
    # A conversion that was killed leaves a folder with this ending.
    inside = [card.parent for card in cards if ".partial" not in str(card.relative_to(folder))]
    candidates = [Candidate(one, read_card(one, *CARD_KINDS)) for one in inside]
    candidates = [one for one in candidates if one.card["kind"] in PRIOR_KINDS]
    if not candidates:
        raise FileNotFoundError(
            f"--prior {name}: no prior is there: give a folder with card.json, a folder of such "
            f"folders, or {', '.join(sorted(BUNDLED))}"
        )
    return candidates


def candidate_for(entry: SolverEntry, candidates: list[Candidate]) -> Candidate | None:
    """A solver's prior: of its kind, and of two sets of weights the one that its reference has.

    Raises:
      ValueError: several others could be it.
    """
    fitting = [one for one in candidates if one.kind == entry.prior]
    same = [one for one in fitting if one.card.get("weights") == entry.weights] or fitting
    if len(same) > 1 or len({one.checkpoint for one in fitting}) > 1:
        named = ", ".join(str(one.folder) for one in fitting)
        raise ValueError(
            f"--prior: {entry.title} has the choice of {named}: name one {entry.prior} prior, or "
            "the two sets of weights of one checkpoint"
        )
    return same[0] if same else None


def chosen_priors(
    names: Iterable[str], solvers: Iterable[str], dtype: str = "float32", verify: bool = True
) -> Priors:
    """The priors of some solvers, each loaded once.

    Args:
      names: of bundled priors, folders of priors, and folders of these.
      solvers: keys of `SOLVERS`.
      dtype: as in `load_prior`.
      verify: likewise.

    Raises:
      FileNotFoundError, ValueError: a name without a prior, or a solver with several.
    """
    named = [one for name in names for one in candidates_at(name)]
    candidates = list({one.folder.resolve(): one for one in named}.values())
    choices = {name: candidate_for(SOLVERS[name], candidates) for name in dict.fromkeys(solvers)}
    loaded: dict[Path, ChosenPrior] = {}
    for choice in filter(None, choices.values()):
        if choice.folder not in loaded:
            prior, card = load_prior(choice.folder, dtype=dtype, verify=verify)
            loaded[choice.folder] = ChosenPrior(prior, card, prior_identity(prior, card))
    return {name: loaded[choice.folder] for name, choice in choices.items() if choice}


def about_prior(solver: str, card: dict, images: Images) -> str:
    """Solver, prior and weights in words."""
    entry, weights, name = SOLVERS[solver], card.get("weights"), card_name(card)
    words = [f"{entry.title}: {name}"]
    if weights in WEIGHTS:
        is_same, other = weights == entry.weights, WEIGHTS[entry.weights]
        match = "as its reference" if is_same else f"where its reference has the {other}"
        words += [WEIGHTS[weights], match]
    if images.size not in (None, card["size"]):
        words.append(f"made for {card['size']} px and used at {images.size}")
    return ", ".join(words)


def image_facts(card: dict, images: Images) -> tuple[int, int, str]:
    """Side, channels and source of the images that are restored with a prior."""
    return images.size or card["size"], card["channels"], "" if images.images else samples_of(card)


def check_classes(priors: Priors, images: Images) -> None:
    """Raise ValueError where classes are given and no prior takes any."""
    if images.class_label and not any(one.card.get("classes") for one in priors.values()):
        raise ValueError("--class-label: none of the priors takes a class: drop it")


def check_same_images(priors: Priors, images: Images) -> None:
    """Raise ValueError unless all solvers restore the same images, so that rows can be compared."""
    names = {image_facts(one.card, images): card_name(one.card) for one in priors.values()}
    if len(names) > 1:
        told = [
            f"{name} has {side} px, {channels} channels{source and f', samples {source}'}"
            for (side, channels, source), name in names.items()
        ]
        raise ValueError(
            f"--prior: {'; '.join(told)}; a table compares the same images: give --size and "
            "--images, or other priors"
        )
