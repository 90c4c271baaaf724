"""Errors of the converter's commands, and of what reads state dicts; see test_errors.py."""

import contextlib
import json
import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np

from checkpoints_convert import __main__ as command
from checkpoints_convert.alike import told_apart
from checkpoints_convert.facts import FACTS, with_facts
from checkpoints_convert.kinds import KINDS
from checkpoints_convert.parity import errors
from checkpoints_convert.prompts import prompt_embeddings
from checkpoints_convert.recorded import Recorded
from dsg_jax.networks.adm import ADMConfig
from support.small_checkpoint import entry, write_safetensors
from support.state_files import entries, random_state, write_state

TINY = ADMConfig(
    8, (1,), 0, (), num_heads=1, num_head_channels=-1, norm_groups=4, middle_attention=False
)  # fmt: skip


def run(*arguments) -> int:
    return command.main([str(argument) for argument in arguments])


def converted(tensor: str, *options) -> Callable[[Path], object]:
    """Converts a file of one small tensor."""

    def convert(folder: Path):
        file = write_safetensors(folder, {tensor: entry()})
        run(file, "--out", folder / "out", *options)

    return convert


def alexnet(*options) -> Callable[[Path], object]:
    """The same, of a file that could be LPIPS's AlexNet."""
    return converted("features.10.weight", *options)


def tiny(
    *options, before=("",), scale=1.0, out="out", changed: dict | None = None, more=()
) -> Callable[[Path], object]:
    """Converts a small U-Net that fits, under these beginnings of its names."""

    def convert(folder: Path):
        state = random_state("adm-ffhq", {"unet": TINY})
        named = {start + name: scale * value for start in before for name, value in state.items()}
        file = write_state(folder / "tiny.pt", entries(named | dict(more)))
        facts = {name: KINDS["adm-ffhq"].card[name] for name in FACTS[:3]} | (changed or {})
        (folder / "parts.json").write_text(json.dumps({"unet": TINY._asdict()} | facts))
        (folder / "used").mkdir()
        (folder / "used" / "notes.txt").touch()
        parts = "--kind", "adm-ffhq", "--architecture", folder / "parts.json"
        run(file, "--out", folder / out, *parts, *options)

    return convert


def architecture(text: str, kind: str = "lpips-alex") -> Callable[[Path], object]:
    """Gives a conversion this file of parts."""

    def convert(folder: Path):
        (folder / "parts.json").write_text(text)
        parts = "--architecture", folder / "parts.json"
        alexnet("--kind", kind, *parts)(folder)

    return convert


def same_file_twice(folder: Path):
    file = write_safetensors(folder, {"features.10.weight": entry()})
    run(file, file, "--out", folder / "out")


def started_by_its_name(folder: Path):
    """As `python -m checkpoints_convert` does."""
    on_cpu = mock.patch.dict(os.environ, JAX_PLATFORMS="cpu")
    with on_cpu, mock.patch.object(sys, "argv", ["convert", "inspect", "missing.ckpt"]):
        runpy.run_path(command.__file__, run_name="__main__")


def verified(table: str = "", against: str | None = None, **facts) -> Callable[[Path], object]:
    """Verifies a folder with a card and a table, perhaps against a file in it."""

    def verify(folder: Path):
        card = {"kind": "lpips-alex", "version": 1, "parameters": 0, "image_range": [-1, 1]} | facts
        (folder / "card.json").write_text(json.dumps(card))
        (folder / "tensors.txt").write_text(table)
        run("verify", folder, *(["--against", folder / against] if against else []))

    return verify


def recorded(name: str, write: Callable[[Path], object], beside: str = "{}"):
    """Verifies against a file that was written so, with this text beside it."""

    def verify(folder: Path):
        write(folder / name)
        (folder / "golden.json").write_text(beside)
        verified(against=name, tensors_sha256="")(folder)

    return verify


def one_array(path: Path):
    np.save(path, np.zeros(3))


def named_arrays(path: Path):
    np.savez(path, y=np.zeros(3))


def packed(path: Path):
    np.savez_compressed(path, y=np.zeros(2**25))


def without_torch(folder: Path):
    with mock.patch.dict(sys.modules, {"torch": None}):
        prompt_embeddings(None, folder / "sd.ckpt")


def without_text_encoder(folder: Path):
    def no_encoder(place: str, local_files_only: bool):
        raise OSError("not in the cache")

    encoder = SimpleNamespace(from_pretrained=no_encoder)
    transformers = SimpleNamespace(CLIPTokenizer=encoder, CLIPTextModel=encoder)
    with mock.patch.dict(sys.modules, transformers=transformers, torch=SimpleNamespace()):
        prompt_embeddings(None, folder / "sd.ckpt")


def with_a_narrow_text_encoder(folder: Path):
    states = SimpleNamespace(float=lambda: SimpleNamespace(numpy=lambda: np.zeros((2, 77, 4))))

    class Encoder:
        def from_pretrained(self, place: str, local_files_only: bool):
            return self

        eval = lambda self: self
        __call__ = lambda self, *tokens, **options: SimpleNamespace(
            input_ids=0, last_hidden_state=states
        )

    transformers = SimpleNamespace(CLIPTokenizer=Encoder(), CLIPTextModel=Encoder())
    torch = SimpleNamespace(no_grad=contextlib.nullcontext)
    with mock.patch.dict(sys.modules, transformers=transformers, torch=torch):
        prompt_embeddings(None, folder / "sd.ckpt")


def embeddings(write: Callable[[Path], object]) -> Callable[[Path], object]:
    """Gives a file that was written so as the embeddings of prompts."""

    def read(folder: Path):
        write(folder / "prompts.npy")
        prompt_embeddings(folder / "prompts.npy", folder)

    return read


CASES: dict[str, Callable[[Path], object]] = {
    "the following arguments are required: input, --out": lambda folder: run(),
    "[Errno 2] No such file or directory: 'missing.ckpt'": started_by_its_name,
    "no kind 'gan': choose from auto, adm-ffhq": alexnet("--kind", "gan"),
    "no dtype 'int8': choose from float32, bfloat16, float16": alexnet("--dtype", "int8"),
    "made.safetensors is most like lpips-alex, as torchvision's classifier": alexnet(),
    "made.safetensors is no lpips-vgg, as torchvision's": alexnet("--kind", "lpips-vgg"),
    "which start with fc.weight (see `list` and `inspect`)": converted("fc.weight"),
    "the file has no weights 'ema': it has one set only, so leave --weights out": alexnet(
        "--weights", "ema"
    ),
    "used holds other files than ema and raw: give a new folder": tiny(
        "--weights", "both", before=("net.model.", "ema.model."), out="used"
    ),
    "adm-ffhq takes no --context: its network is not": tiny("--context", "prompts.npy"),
    "would hold infinities or NaN as float16: its values leave the type's range": tiny(
        "--dtype", "float16", scale=1e9
    ),
    "would hold infinities or NaN as float32: so does the file, whose weights are": tiny(
        scale=float("nan")
    ),
    "made.safetensors and another file both hold features.10.weight: give": same_file_twice,
    "parts.json has ['text']; the parts of this kind are none": architecture('{"text": 1}'),
    "parts.json has 'many' for classes; wanted: one like 1001": architecture(
        json.dumps({"classes": "many"} | {k: KINDS["ldm-imagenet"].card[k] for k in FACTS[:4]}),
        "ldm-imagenet",
    ),
    "parts.json describes another network than the published one, of which nobody knows": (
        architecture('{"unet": {}}', "adm-ffhq")
    ),
    "parts.json has betas 'sine'; wanted is one of linear, scaled_linear": tiny(
        changed={"betas": "sine"}
    ),
    "--betas has betas ['cosine', '1']; wanted is one of linear, scaled_linear, cosine": tiny(
        "--betas", "cosine", "1"
    ),
    "has betas of their own 0.5 to 0.5, 3 steps, and you say linear 0.0001 to 0.02": tiny(
        before=("state_dict.",), more={"betas": np.full(3, 0.5, np.float32)}
    ),
    "has betas of shape (2,) from 0.0 to 0.0, which are no variances: take": tiny(
        before=("state_dict.",), more={"betas": np.zeros(2, np.float32)}
    ),
    "--size 64: this kind has none, leave it out": lambda folder: with_facts(
        KINDS["kernel-wizard"], {"size": 64}, {}, "x.pth"
    ),
    "names and shapes are those of sd21 and sd21-base, and the file's name": lambda folder: (
        told_apart("sd21", "model.ckpt", {})
    ),
    "the file holds weights under ['model.', 'ema.']: save one of them alone": tiny(
        before=("model.", "ema.")
    ),
    "records no hashes: convert or export it anew": verified(),
    "tensors.txt is damaged: convert it anew": verified("<html>\n", tensors_sha256=""),
    "15 tensors are in only one of card and table: convolutions/0/bias; convert": verified(
        tensors_sha256=""
    ),
    "golden.npy is no .npz of named arrays: it is one array": recorded("golden.npy", one_array),
    "golden.npz is no .npz of named arrays: No data left": recorded("golden.npz", Path.touch),
    "golden.npz is no .npz of named arrays: it unpacks to over ": recorded("golden.npz", packed),
    "golden.json describes no recorded arrays: 'list' object": recorded(
        "golden.npz", named_arrays, '{"tolerance": []}'
    ),
    "golden.json has 'ones([3])' for an input; wanted is randn(": recorded(
        "golden.npz", named_arrays, '{"x": "ones([3])"}'
    ),
    "the recorded arrays (z) are none of a lpips-vgg network": lambda folder: errors(
        {"kind": "lpips-vgg"}, None, Recorded({"z": np.zeros(3)}, {}, {})
    ),
    "needs the embeddings of its prompts, and torch is not installed": without_torch,
    "the text encoder gives (2, 77, 4) where the network takes (2, 77, 768)": (
        with_a_narrow_text_encoder
    ),
    "transformers finds no text encoder at openai/clip-vit-large-patch14": without_text_encoder,
    "prompts.npy holds float64 of shape (3,); wanted are finite floats": embeddings(one_array),
}
