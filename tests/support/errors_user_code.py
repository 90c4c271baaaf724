"""The errors of a user's file, and what provokes them; see test_errors.py."""

from collections.abc import Callable
from pathlib import Path

from pytest import MonkeyPatch

from experiments.__main__ import main
from support.own_page import EXAMPLES, write_examples

PNP = "restore --solver pnp.py:pnp --out out --prior pixels.py:pixels --projection none --count 2"
VIGNETTE = f"{PNP} --task vignette.py:vignette"


def examples(words: str, file: str = "", old: str = "", new: str = "") -> Callable[[Path], object]:
    """A command in a folder of the examples, one of which is changed."""

    def provoke(folder: Path) -> int:
        with MonkeyPatch.context() as world:
            world.chdir(folder)
            write_examples(folder)
            if file:
                assert old in EXAMPLES[file], (file, old)
                Path(file).write_text(EXAMPLES[file].replace(old, new))
            return main(words.split())

    return provoke


def two_of_a_name(folder: Path) -> int:
    (folder / "b").mkdir()
    write_examples(folder / "b")
    return examples(f"{VIGNETTE} b/vignette.py:vignette")(folder)


def pnp(old: str, new: str) -> Callable[[Path], object]:
    return examples(VIGNETTE, "pnp.py", old, new)


def vignette(old: str, new: str) -> Callable[[Path], object]:
    return examples(VIGNETTE, "vignette.py", old, new)


def pixels(old: str, new: str) -> Callable[[Path], object]:
    return examples("restore --task hdr --prior pixels.py:pixels", "pixels.py", old, new)


LIBRARY = {
    "fog.py:fog: fog.py cannot be read: No such file": examples("restore --task fog.py:fog"),
    "pnp.py, line 1: unterminated string literal": pnp("# pnp.py", '"'),
    "pnp.py defines no function dps, only settings_for, pnp": examples(
        "memory --solver pnp.py:dps"
    ),
    "pnp.py, line 35: pnp takes (prior, problem), and a solver takes (prior, problem,": (
        pnp("pnp(prior, problem, projection, settings)", "pnp(prior, problem)")
    ),
    "pnp.py, line 24: write behind it -> and what it returns": pnp(" -> Settings", ""),
    "pnp.py, line 24: rate of settings_for has no type that": pnp("rate: float", "rate: list[int]"),
    "pnp.py, line 14: OPERATOR = 'linaer': choose from 'any', 'linear'": pnp(
        'OPERATOR = "linear"', 'OPERATOR = "linaer"'
    ),
    "pnp.py, line 24: settings_for returns a tuple: return a dataclass with a field": pnp(
        "return Settings(", "return ("
    ),
    "pnp.py, line 35: pnp returns nothing: return a dsg_jax.types.Solver": pnp(
        "return Solver(", "Solver("
    ),
    "vignette.py, line 16: the operator has no adjoint: return one, or write LINEAR = False": (
        vignette(", adjoint=darkened", "")
    ),
    "pixels.py, line 16: the card is {'siez': 16, 'samples': 'emoji'}: give": pixels(
        '"size"', '"siez"'
    ),
    "pixels.py, line 16: the network of a (16, 16, 3) state predicts (16, 3): let": pixels(
        "* x /", "* x[0] /"
    ),
    "effective.py, line 8: of energies (3, 8) effective gives ShapeDtypeStruct": examples(
        "restore --task hdr --rank-rule effective.py:effective",
        "effective.py",
        ".sum(axis=1)))",
        "))",
    ),
}
COMMANDS = {
    "vignette.py:vignette and b/vignette.py:vignette would both be vignette.py-": two_of_a_name,
    "--seed of pnp.py:pnp, vignette.py:vignette is another option's name": pnp(
        "steps: int = 20, rate", "seed: int = 20, rate"
    ),
    "pnp.py, line 35: pnp.py:pnp does not run: scan body function carry": pnp(
        "return x, step", "return x[0], step"
    ),
    "pnp.py, line 35: pnp.py:pnp restores a (8, 16, 3) image, not one of (16, 16, 3)": pnp(
        "image=lambda x: x", "image=lambda x: x[:8]"
    ),
    "vignette.py, line 16: the operator of every image is another function": vignette(
        "Partial(shade, np.float32(gain[..., None]))", "lambda x: shade(gain[..., None], x)"
    ),
    "vignette.py:vignette gives (4, 8, 3): a posterior is known of linear": examples(
        "calibrate --solver dps --setting gaussian:vignette.py:vignette --out out",
        "vignette.py",
        "gain * x",
        "(gain * x)[:4]",
    ),
    "--solver psld: none of the priors pixels.py:pixels is for it": examples(
        "speed --priors pixels.py:pixels --solver psld"
    ),
    "--dtype changes nothing here: the networks of FILE.py:NAME": examples(
        f"{VIGNETTE} --dtype bfloat16"
    ),
    "vignette.py defines no function fog, only shade, vignette": examples(
        "restore --task vignette.py:fog"
    ),
}
