"""The command: `python -m checkpoints_convert --help`.

It first checks everything that it was given and only then works: what is wrong is said in one line,
with exit code 2, before anything was written.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

import jax

from checkpoints_convert.convert import DTYPES, plan_convert
from checkpoints_convert.describe import plan_inspect, plan_list
from checkpoints_convert.kinds import KINDS
from checkpoints_convert.preconditioning import CARDS
from checkpoints_convert.verify import plan_verify
from dsg_jax.schedule import SCHEDULES

_USE = """\
python -m checkpoints_convert INPUT [INPUT] --out DIR [options]   convert a checkpoint
python -m checkpoints_convert list                                the known kinds
python -m checkpoints_convert inspect FILE                        what is inside, nothing loaded
python -m checkpoints_convert verify DIR [--against GOLDEN.npz]   check a converted folder"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, where argparse prints the usage before it."""

    def error(self, message: str):
        """Print the line and exit with code 2."""
        self.exit(2, f"error: {message} (see python -m checkpoints_convert --help)\n")


def add_convert_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that a conversion takes."""
    parser.add_argument(
        "input", nargs="+", type=Path, help="file or diffusers folder; LPIPS has two files"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--kind", default="auto", help=f"auto (default), {', '.join(KINDS)}")
    parser.add_argument(
        "--weights",
        choices=["ema", "raw", "both"],
        help="of a file with two sets: averaged (default), those being trained, or each in a "
        "folder of its own, DIR/ema and DIR/raw",
    )
    parser.add_argument(
        "--dtype",
        default="float32",
        help=f"of the stored kernels: {', '.join(DTYPES)}; vectors and codes are float32",
    )
    parser.add_argument(
        "--context", type=Path, help=".npy of prompt embeddings, (77, 768) or (2, 77, 768)"
    )
    parser.add_argument(
        "--architecture",
        type=Path,
        help="JSON of parts that differ from the published ones, as in a card's architecture",
    )
    add_fact_arguments(parser)


def add_fact_arguments(parser: argparse.ArgumentParser) -> None:
    """What of a network is to be said where neither its file nor its kind knows it."""
    parser.add_argument(
        "--betas",
        nargs="+",
        metavar="SCHEDULE",
        help=f"{', '.join(SCHEDULES)}, then start, end and steps if they are not the usual ones, "
        "of a network with another schedule than the published one: scaled_linear 0.0015 0.0155",
    )
    parser.add_argument("--size", type=int, help="usual side of its images, pixels")
    parser.add_argument(
        "--parametrisation", choices=["eps", "v", "x0"], help="what the network predicts"
    )
    parser.add_argument(
        "--preconditioning",
        choices=list(CARDS),
        help="of EDM's networks, where the file does not say: how they are scaled and asked",
    )
    parser.add_argument(
        "--sigma-data", type=float, help="of edm preconditioning; 0.5 if nobody says"
    )
    parser.add_argument(
        "--mean",
        type=float,
        help="of values that are no images: states are (value - mean) / (2 std)",
    )
    parser.add_argument("--std", type=float, help="see --mean")


def add_inspect_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that `inspect` takes."""
    parser.add_argument("input", type=Path, metavar="FILE")
    parser.add_argument("--all", action="store_true", help="every tensor, not only groups")


def add_verify_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that `verify` takes."""
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--against", type=Path, help="recorded inputs and outputs, .npz")


Plan = Callable[..., Callable[[], object]]

# Name -> what it does, what adds its arguments, and what checks them and returns the work.
COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None], Plan]] = {
    "list": ("the known kinds and where they come from", lambda parser: None, plan_list),
    "inspect": ("what is inside a checkpoint", add_inspect_arguments, plan_inspect),
    "verify": ("hashes, shapes, finiteness, a forward pass", add_verify_arguments, plan_verify),
}


def parsed(argv: list[str]) -> argparse.Namespace:
    """The arguments of one of `COMMANDS`, or of a conversion; ``plan`` of them checks them."""
    command = COMMANDS.get(argv[0]) if argv else None
    text, add, plan = command or ("Convert a checkpoint.", add_convert_arguments, plan_convert)
    name = f" {argv[0]}" if command else ""
    parser = Parser(
        prog=f"python -m checkpoints_convert{name}",
        description=text,
        usage=None if command else _USE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add(parser)
    parser.set_defaults(plan=plan)
    return parser.parse_args(argv[1:] if command else argv)


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 2 for bad input, 1 for a folder that fails."""
    values = vars(parsed(sys.argv[1:] if argv is None else argv))
    plan = values.pop("plan")
    try:
        done = plan(**values)()
    except (ValueError, OSError, MemoryError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; nothing that looks finished was left", file=sys.stderr)
        return 130
    return done if isinstance(done, int) else 0


if __name__ == "__main__":
    if "JAX_PLATFORMS" not in os.environ:  # files and small networks: no need for a device's memory
        jax.config.update("jax_platforms", "cpu")
    sys.exit(main())
