"""From settings to what they stand for: tasks with their options, methods with theirs."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax

from dsg_jax.operators.blur_network import MISSING, load_blur_network
from dsg_jax.operators.tasks import TASKS
from dsg_jax.plug_ins import Guidance, parts_of, smoothing
from dsg_jax.solvers import SOLVERS, SolverEntry
from dsg_jax.types import Prior, Projection
from dsg_jax.user_code import file_name
from dsg_jax.user_entries import rank_rule
from experiments.checks import flag
from experiments.files import array_hash, say
from experiments.settings import Method, RestoreSettings

# The rank rule of the commands where none is named.
AUTO = "auto"
# Channels that the released rank rule was written for: it divides by as many.
OFFICIAL = 3
_network = cache(load_blur_network)


class MethodChoice(NamedTuple):
    """A solver, plain or with one projection, which may be smoothed.

    Attributes:
      options: of the solver, as the user gave them.
      facts: the projection as JSON values.
      label: folder and name: the solver, and of the projection what several methods differ in.
      title: the same as a heading.
      smoothing: the beta of `plug_ins.smoothing`; 0 without it.
    """

    entry: SolverEntry
    options: dict[str, Any]
    projection: Guidance
    facts: dict | None
    label: str
    title: str
    smoothing: float = 0.0


def chosen_tasks(settings: RestoreSettings) -> list[str]:
    """The tasks named, in their order; "all" stands for every one that needs no checkpoint."""
    named = settings.measurement.task
    has_network = settings.task_options.get("blur_network")
    left_out = [] if has_network else [name for name, task in TASKS.items() if task.checkpoint]
    every = [name for name in TASKS if name not in left_out]
    names = list(dict.fromkeys(itertools.chain(*(every if n == "all" else [n] for n in named))))
    if not names:
        raise ValueError(f"--task is missing: choose from all, {', '.join(TASKS)}")
    for name in names:
        if name not in TASKS:
            raise ValueError(f"unknown task {name!r}: choose from all, {', '.join(TASKS)}")
        if name in left_out:
            raise ValueError(MISSING)
    check_file_names(names)
    check_options(settings.task_options, {name: TASKS[name] for name in names}, TASKS, "--task")
    return names


def check_file_names(names: Iterable[str]) -> None:
    """Raise ValueError where two names of user code would give the same files."""
    names_by_file: dict[str, str] = {}
    for name in names:
        if names_by_file.setdefault(file_name(name), name) != name:
            raise ValueError(
                f"{names_by_file[file_name(name)]} and {name} would both be {file_name(name)}:"
                " rename one of the files"
            )


def check_options(
    options: Mapping[str, Any], chosen: Mapping[str, Any], every: Mapping[str, Any], choice: str
) -> None:
    """Raise ValueError for an option that none of the chosen tasks or solvers takes."""
    for name in options:
        if not any(name in entry.options for entry in chosen.values()):
            owners = [other for other, entry in every.items() if name in entry.options]
            if not owners:
                raise ValueError(f"{flag(name)} is no option of {', '.join(every)}: drop it")
            raise ValueError(
                f"{flag(name)} is an option of {' or '.join(owners)}: drop it or change {choice}"
            )


def task_options(settings: RestoreSettings, task: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options given for a task as `operator_for` takes them, and the same as JSON values.

    A network is loaded once, and is what its weights hash to.
    """
    known = TASKS[task].options
    options = {name: v for name, v in settings.task_options.items() if name in known}
    facts = dict(options)
    for name, value in options.items():
        if isinstance(value, Path):
            options[name] = _network(value)
            facts[name] = array_hash(*jax.tree.leaves(options[name]))
    return options, facts


def chosen_methods(settings: RestoreSettings, channels: int | None = None) -> list[MethodChoice]:
    """Every solver, plain and with every projection and smoothing that the settings name.

    Args:
      settings: of the run.
      channels: of the state that is decomposed, which decides what the rank rule `AUTO` is; None
        while the prior is not known, and three stand for it.

    Raises:
      ValueError: something named does not exist, or does not go with the rest.
    """
    method = settings.method
    unknown = [name for name in method.solver if name not in SOLVERS]
    if unknown:
        raise ValueError(f"unknown solver {unknown[0]!r}: choose from {', '.join(SOLVERS)}")
    entries = {name: SOLVERS[name] for name in method.solver}
    if len({entry.prior for entry in entries.values()}) > 1:
        raise ValueError(
            f"--solver {' '.join(method.solver)}: some work on pixels and some on latents, and a "
            "run has one prior: run them one after the other"
        )
    check_file_names(entries)
    check_options(settings.solver_options, entries, SOLVERS, "--solver")
    check_smoothing(method, entries)
    methods = []
    for entry in entries.values():
        options = {n: v for n, v in settings.solver_options.items() if n in entry.options}
        if method.projection != "state":
            plain = MethodChoice(entry, options, None, None, file_name(entry.name), entry.title)
            methods.append(plain)
        if method.projection != "none":
            methods += projected_methods(entry, options, method, channels)
    return [smoothed(one, beta, method) for one in methods for beta in method.smoothing]


def check_smoothing(method: Method, entries: Mapping[str, SolverEntry]) -> None:
    """Raise ValueError where gradients are to be smoothed and a solver has one at a time."""
    without = [name for name, entry in entries.items() if not entry.inner_loop]
    if any(method.smoothing) and without:
        able = [name for name, entry in SOLVERS.items() if entry.inner_loop]
        raise ValueError(
            f"--smoothing changes nothing here: {without[0]} follows one gradient an outer step,"
            f" and it starts anew with each: drop it, or use --solver {' or '.join(able)}"
        )


def smoothed(choice: MethodChoice, beta: float, method: Method) -> MethodChoice:
    """A method with `plug_ins.smoothing` behind its projection; itself where beta is 0."""
    if not beta:
        return choice
    word = "smoothed" + (f"{beta:g}" if sum(map(bool, method.smoothing)) > 1 else "")
    return choice._replace(
        projection=(*parts_of(choice.projection), smoothing(beta)),
        label=f"{choice.label}-{word}",
        title=f"{choice.title}, {word}",
        smoothing=beta,
    )


def rank_rules(named: tuple[str, ...], default: str, channels: int | None) -> list[str]:
    """The rank rules named, `AUTO` as what it stands for.

    Args:
      named: none stands for `AUTO`.
      default: of the solver's source.
      channels: of the state that is decomposed; None is three.

    Raises:
      ValueError: two of them are the same.
    """
    is_official_meant = channels in (None, OFFICIAL)
    automatic = default if default != "official" or is_official_meant else "per_channel"
    rules = [automatic if rule == AUTO else rule for rule in named or (AUTO,)]
    if channels is not None and len(set(rules)) < len(rules):
        raise ValueError(f"--rank-rule {' '.join(named)}: auto is {automatic} here, drop one")
    if "official" in rules and not is_official_meant:
        say(
            f"--rank-rule official counts on {OFFICIAL} channels and here is a state of {channels}:"
            " its rank is too small for fewer and too large for more; auto takes per_channel",
            once=True,
        )
    return rules


def solver_settings(method: MethodChoice, task: str, prior: Prior, noise: str) -> Any:
    """The settings of a method's solver for a task, on this prior's schedule."""
    entry = method.entry
    settings = entry.settings_for(task, prior.clock, **method.options)
    if entry.first_sigma and (start := settings.steps.sigma[0]) < entry.first_sigma:
        say(
            f"{entry.title} starts at sigma {start:.4g} and not at the published"
            f" {entry.first_sigma:g}: the prior was trained up to there",
            once=True,
        )
    return dataclasses.replace(settings, poisson=True) if noise == "poisson" else settings


def projected_methods(
    entry: SolverEntry, options: dict[str, Any], method: Method, channels: int | None
) -> list[MethodChoice]:
    """A solver with every rank rule, tau and period; names tell what there is more than one of."""
    defaults = entry.projection_defaults(**options)
    rules = rank_rules(method.rank_rule, defaults["rule"], channels)
    check_file_names(rules)
    periods = method.period or (defaults["period"],)
    word = "dsg" if method.source == "state" else method.source
    heading = "DiffStateGrad" if method.source == "state" else f"{method.source} subspace"
    methods = []
    for rule, tau, period in itertools.product(rules, method.tau, periods):
        facts = {"tau": tau, "rule": rule, "period": period, "sides": method.sides}
        if method.source != "state":  # left out of the others, so that their hashes stay
            facts["source"] = method.source
        differing = [
            *([file_name(rule)] if len(rules) > 1 else []),
            *([f"tau{tau:g}"] if len(method.tau) > 1 else []),
            *([f"period{period}"] if len(periods) > 1 else []),
        ]
        projection = Projection(**(facts | {"rule": rank_rule(rule)}))
        label = "-".join([file_name(entry.name), word, *differing])
        title = ", ".join([f"{entry.title} + {heading}", *differing])
        methods.append(MethodChoice(entry, options, projection, facts, label, title))
    return methods
