"""Refused files of EDM's networks and NVlabs' pickles; see test_errors.py."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from checkpoints_convert.__main__ import main
from checkpoints_convert.kinds import KINDS
from checkpoints_convert.preconditioning import Stated, consistency_warning, with_preconditioning
from dsg_jax.networks.edm import EDMConfig
from support.small_checkpoint import bytes_of, holding, op, tensor, write_legacy, write_pickle
from support.state_files import entries, random_state, write_state

TINY = EDMConfig("song", 8, 8, (1,), 1, (), 1, 1)
FILTER = np.full((1, 1, 2, 2), 0.25, np.float32)


def edm(*options, file: str = "edm.pt", more: dict | None = None, of: dict | None = None):
    """Converts a small network, with further tensors, or only these."""

    def convert(folder: Path):
        state = random_state("edm", {"unet": TINY}) if of is None else of
        path = write_state(folder / file, entries(state | (more or {})))
        main([str(path), "--out", str(folder / "out"), "--kind", "edm", *options])

    return convert


def asked(stated: Stated, kind: str = "edm", **attributes) -> Callable[[Path], object]:
    """Asks how a network is scaled whose file has an object with these attributes."""
    values = {f"net.{name}": value for name, value in attributes.items()}
    return lambda folder: with_preconditioning(KINDS[kind], kind, {}, values, stated)


def inline(argument: bytes) -> Callable[[Path], object]:
    """Inspects a pickle whose tensor has a storage of this argument."""
    return lambda folder: main(["inspect", str(write_pickle(folder, argument))])


def of_another_object(folder: Path):
    """A legacy file of a dict in the place of a storage."""
    stored = write_legacy(folder, holding(w=tensor())).read_bytes()
    inline(bytes_of(stored))(folder)


EDM, VP = ("--preconditioning", "edm"), ("--preconditioning", "vp")
CASES: dict[str, Callable[[Path], object]] = {
    "no tensor is named map_layer0.weight, so these are not EDM's networks": edm(of={"w": FILTER}),
    "names and shapes under '' are not EDM's: ": edm(of={"map_layer0.weight": FILTER[0, 0]}),
    "its resampling filters are not one of positive taps: none other is read": edm(
        more={"net.model.a.resample_filter": FILTER, "net.model.b.resample_filter": 2 * FILTER}
    ),
    "neither the file nor the names and shapes in it say how the network is asked: give --": edm(),
    "--sigma-data is EDM's, and this is vp: leave it out": edm(*VP, "--sigma-data", "0.5"),
    "--mean alone: give --mean and --std": edm(*EDM, "--mean", "3"),
    "the file has other noise levels u than those of iDDPM's cosine schedule": edm(
        more={"net.u": np.zeros(1001, np.float32)}
    ),
    "the file has preconditioning edm, and you say vp: leave --preconditioning out": asked(
        Stated("vp"), class_name="EDMPrecond"
    ),
    "the file has beta_d 20.0; read is 19.9": asked(Stated(), class_name="VPPrecond", beta_d=20.0),
    "lpips-alex takes no --sigma-data: leave it out": asked(Stated(sigma_data=0.5), "lpips-alex"),
    "cd_cat256_l2.pt holds a consistency function: it answers where the path of the ODE ends": (
        lambda folder: consistency_warning("consistency", [Path("cd_cat256_l2.pt")])
    ),
    "a storage is made of something other than bytes": inline(op("text")),
    "the bytes of a storage hold something else": of_another_object,
}
