"""Folders of diffusers, golden and made."""

import json
from pathlib import Path

import numpy as np

from support.golden_case import GOLDEN, read_arrays
from support.state_files import entries, write_safe

OLD_NAMES = GOLDEN / "checkpoints" / "diffusers_flat_old_names"
HALF = GOLDEN / "checkpoints" / "diffusers_fp16_variant"
NEWER = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Attention's names of 2022 -> today's."""


def config(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


def write_configs(folder: Path, network: dict | None = None, **scheduler) -> Path:
    """The config files of `OLD_NAMES` with other entries, flat; None takes an entry out."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = json.loads((OLD_NAMES / "scheduler_config.json").read_text())
    for name, content, changed in (
        ("config.json", config(OLD_NAMES), network or {}),
        ("scheduler_config.json", stored, scheduler),
    ):
        left_out = [name for name, value in changed.items() if value is None]
        merged = {k: v for k, v in (content | changed).items() if k not in left_out}
        (folder / name).write_text(json.dumps(merged))
    return folder


def write_pipeline(folder: Path) -> Path:
    """`OLD_NAMES` as a step of the training script keeps it: a pipeline, its averaged weights in
    shards under today's names, and twice these as the weights being trained."""
    state = {}
    for name, array in read_arrays(OLD_NAMES).items():
        *modules, layer, leaf = name.split(".")
        state[".".join([*modules, NEWER.get(layer, layer), leaf])] = array
    write_configs(folder / "unet")
    (folder / "unet" / "scheduler_config.json").unlink()
    write_configs(folder / "scheduler")
    (folder / "scheduler" / "config.json").unlink()
    parts = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"]}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "DDPMPipeline"} | parts))
    doubled = entries({name: np.float32(2) * array for name, array in state.items()})
    write_safe(folder / "unet" / "diffusion_pytorch_model.safetensors", doubled)
    stem, table = "diffusion_pytorch_model", {}
    for k in range(3):
        shard = f"{stem}-0000{k + 1}-of-00003.safetensors"
        some = {name: state[name] for name in list(state)[k::3]}
        write_safe(folder / "unet_ema" / shard, entries(some))
        table |= dict.fromkeys(some, shard)
    index = folder / "unet_ema" / f"{stem}.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": table}))
    return folder
