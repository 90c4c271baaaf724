"""Set the CPU flags before jax is imported anywhere; keep compiled programs between runs."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.environment import set_cpu_flags

set_cpu_flags()
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


def pytest_collection_modifyitems(items):
    """Mark the cases of ``slow_cases.txt`` as slow; the longest files come first, for xdist."""
    lines = (Path(__file__).parent / "slow_cases.txt").read_text().splitlines()
    names = [line for line in lines if line and not line.startswith("#")]
    for item in items:
        if any(name in item.nodeid for name in names):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.path.name not in ("test_errors.py", "test_docs.py"))


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """A folder like the unpacked emoji package, with plain coloured discs."""
    folder = tmp_path_factory.mktemp("package") / "assets"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for code in range(0x1F400, 0x1F440):
        pixels = np.zeros((24, 24, 4), np.uint8)
        pixels[4:20, 4:20] = [*rng.integers(0, 255, 3), 255]
        for skin in ("", "-1f3fb"):
            Image.fromarray(pixels).save(folder / f"{code:x}{skin}.webp", lossless=True)
    return folder.parent


@pytest.fixture
def constant_rate(monkeypatch):
    """One optimiser in every trainer, whose rate does not depend on how long the training is."""
    import optax

    from experiments.train import loop

    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    monkeypatch.setattr(loop, "make_optimizer", lambda *_: optimizer)


@pytest.fixture(autouse=True)
def built_in_entries():
    """What a test names of a user's file goes with it."""
    from dsg_jax.user_entries import forget

    yield
    forget()


@pytest.fixture
def tiny(monkeypatch):
    """The prior of `tiny_command` in place of the bundled ones."""
    from support.tiny_command import stand_in

    stand_in(monkeypatch.setattr)


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The folder of one whole run of `tiny_command.FIVE`."""
    from experiments.__main__ import main
    from support.tiny_command import FIVE, command, stand_in

    out = tmp_path_factory.mktemp("whole") / "out"
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch.setattr)
        assert main(command(FIVE, out)) == 0
    return out
