"""The one way a matplotlib figure becomes a file; without matplotlib a report says why it has none.

matplotlib is imported where a figure begins: only reports with figures need it.
"""

import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from experiments.files import write_atomically


def why_no_figure() -> str:
    """What is missing for figures, "" if nothing is."""
    missing = find_spec("matplotlib") is None
    return "it needs matplotlib: pip install 'dsg_jax[plots]'" if missing else ""


def new_figure(width: float, height: float) -> Any:
    """An empty `matplotlib.figure.Figure` of so many inches, which needs no screen."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def write_figure(path: Path, figure: Any, **options) -> None:
    """Write a figure as PNG in one piece; ``options`` are those of `Figure.savefig`."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", **options)
    write_atomically(path, stream.getvalue())
