"""Priors of original checkpoints, which are converted the first time and found again after that.

This module stands above `dsg_jax.priors` and the converter; nothing in this package imports it.
"""

from pathlib import Path
from typing import Any

from dsg_jax import priors
from dsg_jax.types import Prior
from dsg_jax.user_code import is_user_code
from dsg_jax.user_entries import user_prior

# Files of a diffusers folder, one of which tells it from a folder of converted weights.
_ORIGINAL = "model_index.json", "config.json", "unet/config.json"


def load_prior(name: str | Path, *args: Any, **options: Any) -> tuple[Prior, dict]:
    """The prior of a bundled name, a converted folder or an original checkpoint, and its card.

    Args:
      name: as in `prior_folder`, or FILE.py:NAME, a function that makes a prior, whose type is its
        own and has no hashes.
      *args: those of `priors.load_prior`.
      **options: likewise.

    Raises:
      FileNotFoundError, ValueError: as both of them.
    """
    if is_user_code(name):
        return user_prior(str(name), options.get("placement"))
    return priors.load_prior(prior_folder(name), *args, **options)


def prior_folder(name: str | Path) -> Path:
    """The folder of a bundled prior, or of what an original checkpoint was converted to.

    Args:
      name: of a bundled prior, or a folder, which is returned as it is unless it is an original:
        a diffusers folder, or a file that `checkpoints_convert` recognises and needs no options
        for. Its folder lies in ``~/.cache/dsg_jax/priors`` (``XDG_CACHE_HOME`` is followed) and is
        used until the original changes.

    Raises:
      ValueError, OSError: it cannot be converted, or not without options.
    """
    path = priors.BUNDLED.get(str(name), Path(name))
    is_original = path.is_file() or any((path / file).is_file() for file in _ORIGINAL)
    if (path / "card.json").is_file() or not is_original:
        return path
    from checkpoints_convert.cached import cached_conversion  # here: folders need no converter

    return cached_conversion(path)
