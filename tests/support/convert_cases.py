"""Shared by the tests of convert."""

import json

from checkpoints_convert.__main__ import main
from support.golden_case import GOLDEN

LDM_FILE = GOLDEN / "checkpoints" / "tiny_ldm.ckpt"


def architecture(folder, **parts):
    """The option for parts that differ from the published ones."""
    path = folder / "architecture.json"
    path.write_text(json.dumps({name: config._asdict() for name, config in parts.items()}))
    return ["--architecture", str(path)]


def run(*arguments) -> int:
    return main([str(argument) for argument in arguments])
