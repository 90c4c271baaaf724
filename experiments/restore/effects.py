"""Options that would change nothing are refused by name, so that nobody relies on them.

What counts is an option that differs from its default: the default asks for nothing.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax

from dsg_jax.operators.tasks import TASKS
from dsg_jax.solvers import SOLVERS
from dsg_jax.user_code import is_user_code
from experiments.checks import flag
from experiments.images import image_files
from experiments.settings import RestoreSettings

When = Callable[[RestoreSettings], object]


class Idle(NamedTuple):
    """Options that have no effect under some condition.

    Attributes:
      group: field of `RestoreSettings`.
      names: of its options.
      when: whether they are without effect.
      why: the reason and the mend, in words.
    """

    group: str
    names: tuple[str, ...]
    when: When
    why: str


def is_measured(settings: RestoreSettings) -> bool:
    """Whether the measurement is the user's and there is no truth."""
    return bool(settings.images.measured)


def has_own_size(settings: RestoreSettings) -> bool:
    """Whether the measurement tells the size of the image; a magnitude does not."""
    return is_measured(settings) and not any(TASKS[t].magnitude for t in settings.measurement.task)


def ignores_noise(settings: RestoreSettings) -> bool:
    """Whether no noise is added, and no solver asks how much there is."""
    return is_measured(settings) and not any(SOLVERS[s].noise for s in settings.method.solver)


def counts_too_many(settings: RestoreSettings) -> bool:
    """Whether there are no more files than are asked for; of images exactly as many are fine."""
    images = settings.images
    if images.count is None or not (images.measured or images.images):
        return False
    files = image_files(list(images.measured or images.images), also=(".npy",))
    return images.count >= len(files) + (not images.measured)


def is_plain(settings: RestoreSettings) -> bool:
    """Whether nothing is projected."""
    return settings.method.projection == "none"


def is_alone(settings: RestoreSettings) -> bool:
    """Whether this is the only process."""
    devices = settings.devices
    return not devices.distributed and devices.coordinator is None


def is_on_cpu(settings: RestoreSettings) -> bool:
    """Whether all products are float32 whatever is asked for."""
    del settings
    return jax.default_backend() == "cpu"


def has_user_prior(settings: RestoreSettings) -> bool:
    """Whether a function of the user's makes the prior."""
    return is_user_code(settings.method.prior)


_PLAIN = "it is about the projection, and --projection is none: drop it"
IDLE = (
    Idle("images", ("fit",), is_measured, "a measured image stays as it is: drop it"),
    Idle("images", ("size",), has_own_size, "a measured image has its own size: drop it"),
    Idle(
        "images",
        ("fit",),
        lambda s: not s.images.images,
        "it is about --images, and the bundled samples are cropped: drop it",
    ),
    Idle(
        "images",
        ("size",),
        lambda s: s.images.fit == "none",
        "--fit none keeps every image as it is: drop one of them",
    ),
    Idle("images", ("count",), counts_too_many, "there are no more images: drop it"),
    Idle(
        "measurement",
        ("sigma",),
        ignores_noise,
        "nothing is added to a measured image, and of the solvers only "
        f"{', '.join(name for name, entry in SOLVERS.items() if entry.noise)} ask how noisy it is:"
        " drop it (daps, latent-daps: --tau-y is the likelihood's)",
    ),
    Idle("method", ("tau", "rank_rule", "period", "sides", "source"), is_plain, _PLAIN),
    Idle(
        "method", ("no_verify",), has_user_prior, "a prior of FILE.py:NAME has no hashes: drop it"
    ),
    Idle(
        "arithmetic",
        ("dtype",),
        has_user_prior,
        "the networks of FILE.py:NAME compute in the type that it gives them: drop it",
    ),
    Idle("solver_options", ("preset", "project", "project_coupling"), is_plain, _PLAIN),
    Idle(
        "task_options",
        ("oversample",),
        lambda s: s.task_options.get("pad") is not None,
        "--pad is given in its place: drop one of them",
    ),
    Idle("run", ("failure_psnr", "metrics"), is_measured, "a measured image has no truth: drop it"),
    Idle("run", ("fid",), lambda s: s.run.shard, "a shard writes no tables: drop it"),
    Idle("run", ("fid_few",), lambda s: s.run.fid is None, "it is about --fid: drop it"),
    Idle(
        "run",
        ("memory",),
        lambda s: s.run.microbatch is not None,
        "--microbatch says how many samples are in memory together: drop one of them",
    ),
    Idle(
        "arithmetic",
        ("matmul_precision",),
        is_on_cpu,
        "a CPU computes every float32 product in float32: drop it",
    ),
    Idle("devices", ("heartbeat",), is_alone, "this process waits for no other: drop it"),
)


def check_effects(settings: RestoreSettings) -> None:
    """Raise ValueError for an option without effect."""
    for idle in IDLE:
        for name in named(settings, idle.group):
            if name in idle.names and idle.when(settings):
                raise ValueError(f"{flag(name)} changes nothing here: {idle.why}")


def named(settings: RestoreSettings, group: str) -> Iterable[str]:
    """The options of a group that differ from their defaults."""
    options: Any = getattr(settings, group)
    if not dataclasses.is_dataclass(options):
        return options
    kind: Any = type(options)
    default = kind()
    names = [entry.name for entry in dataclasses.fields(options)]
    return [name for name in names if getattr(options, name) != getattr(default, name)]
