"""Damage cards, weights, checkpoints, JSON, images and arrays; count what comes of them.

    python tests/slow/fuzz_files.py [--count 1000] [--seed 0]

What must come of them: `support.fuzzing`. Damaged weights must not load at all.
"""

import io
import json
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import jax
import numpy as np
from PIL import Image

for place in Path(__file__).parents[1:3]:
    sys.path.insert(0, str(place))

from checkpoints_convert.facts import FACTS, with_architecture  # noqa: E402
from checkpoints_convert.kinds import KINDS  # noqa: E402
from checkpoints_convert.prompts import prompt_embeddings  # noqa: E402
from checkpoints_convert.read import open_checkpoint  # noqa: E402
from checkpoints_convert.recorded import read_recorded  # noqa: E402
from checkpoints_convert.verify import plan_verify  # noqa: E402
from dsg_jax.networks.adm import ADMConfig  # noqa: E402
from dsg_jax.priors import init_latent_params, load_prior, save_latent_prior, save_prior  # noqa: E402
from dsg_jax.priors.files import recorded_files  # noqa: E402
from dsg_jax.priors.kinds import structs_of  # noqa: E402
from experiments.decode import read_image  # noqa: E402
from support.bombs import BOMBS  # noqa: E402
from support.fuzzing import Case, edited_text, run  # noqa: E402
from support.golden_case import GOLDEN  # noqa: E402
from support.golden_models import TINY, TINY_VQ  # noqa: E402
from support.mutation import damage, damaged_pickle  # noqa: E402

SMALL = ADMConfig(8, (1,), 0, (), num_heads=1, num_head_channels=-1, norm_groups=4)


def prior_folders(folder: Path) -> list[Path]:
    """A small prior of each kind."""
    zeros = lambda tree: jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), tree)
    card = {"parametrisation": "eps", "size": 16, "name": "small"}
    params = zeros(structs_of("adm", {"unet": SMALL}))
    save_prior(folder / "pixel", params, SMALL, card)
    params = zeros(jax.eval_shape(lambda: init_latent_params(TINY, TINY_VQ)))
    card |= {"latent_scale": 1.0, "betas": {"start": 0.0015, "end": 0.0195, "steps": 1000}}
    save_latent_prior(folder / "latent", params, TINY, TINY_VQ, card)
    return [folder / "pixel", folder / "latent"]


def cards(folder: Path, rng: np.random.Generator, count: int) -> Iterator[Case]:
    for whole in prior_folders(folder / "priors"):
        card = json.loads((whole / "card.json").read_text())
        for trial in range(count):
            (whole / "card.json").write_bytes(edited_text(card, rng))
            verify = trial % 8 == 0
            read = verified if verify else load_prior
            yield "verified cards" if verify else "cards", partial(read, whole), True


def verified(folder: Path) -> int:
    """As the command does it; it runs the network, which takes a while to compile."""
    return plan_verify(folder, None)()


def weights(folder: Path, rng: np.random.Generator, count: int) -> Iterator[Case]:
    for whole in prior_folders(folder / "whole"):
        names = [name for name in recorded_files(whole) if name != "card.json"]
        for trial in range(count // 2):
            changed = shutil.copytree(whole, folder / f"changed{trial}")
            path = changed / names[rng.integers(len(names))]
            content = path.read_bytes()
            bit = int(rng.integers(8 * len(content)))
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damage(content, rng) if trial % 3 == 2 else flipped)
            if path.read_bytes() != content:
                yield "weights", partial(load_prior, changed), False
                yield "weights, --no-verify", partial(load_prior, changed, verify=False), True
            shutil.rmtree(changed)


def checkpoints(folder: Path, rng: np.random.Generator, count: int) -> Iterator[Case]:
    goods = {
        name: (GOLDEN / "checkpoints" / name).read_bytes()
        for name in ("hostile.pt", "tiny_legacy.pt", "tiny_ldm.ckpt")
    }
    header = {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    text = json.dumps(header).encode()
    goods["small.safetensors"] = len(text).to_bytes(8, "little") + text + bytes(24)
    path = folder / "damaged.ckpt"

    def read():
        for tensor in open_checkpoint(path).tensors.values():
            tensor.read()

    for name, content in goods.items():
        for trial in range(count // 2):
            way = damaged_pickle if trial % 3 == 0 and content[:2] == b"PK" else damage
            path.write_bytes(way(content, rng))
            yield f"checkpoints: {name}", read, True


def descriptions(folder: Path, rng: np.random.Generator, count: int) -> Iterator[Case]:
    path = folder / "parts.json"
    kind = KINDS["ldm-ffhq"]
    parts = {"unet": TINY._asdict(), "first_stage": TINY_VQ._asdict()}
    parts |= {name: fact for name, fact in kind.card.items() if name in FACTS}
    np.savez(folder / "golden.npz", y=np.zeros(3))
    manifest = {"x": "randn(3, [1, 3, 8, 8])", "config": {"probe_rows": [1, 2]}}
    manifest |= {"tolerance": {"rel_l2": {"y": 1e-3}}}
    for _ in range(count):
        path.write_bytes(edited_text(parts, rng))
        yield "architectures", lambda: with_architecture(kind, path), True
        (folder / "golden.json").write_bytes(edited_text(manifest, rng))
        yield "recorded", lambda: read_recorded(folder / "golden.npz"), True


def pictures(folder: Path, rng: np.random.Generator, count: int) -> Iterator[Case]:
    image = Image.fromarray(rng.integers(0, 256, (16, 24, 3), np.uint8))
    for form in ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM", "DDS", "ICO", "TGA", "PCX"):
        stream = io.BytesIO()
        image.save(stream, form)
        for trial in range(count // 4):
            path = folder / f"x.{'png' if trial % 2 else form.lower()}"
            path.write_bytes(damage(stream.getvalue(), rng, reach=200))
            yield f"images: {form}", partial(read_image, path), True
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    yield "images: PostScript", partial(read_image, path), False


def arrays(folder: Path, rng: np.random.Generator, count: int) -> Iterator[Case]:
    path = folder / "prompts.npy"
    np.save(path, np.zeros((2, 77, 16), np.float32))
    good = path.read_bytes()
    for _ in range(count):
        path.write_bytes(damage(good, rng, reach=128))
        yield "arrays", lambda: prompt_embeddings(path, path, 16), True


def bombs(folder: Path, rng: np.random.Generator, count: int) -> Iterator[Case]:
    for make, _ in BOMBS.values():
        place = folder / "bomb"
        place.mkdir()
        path = make(place)
        yield "bombs", partial(open_checkpoint, path), True
        shutil.rmtree(place)


if __name__ == "__main__":
    makers = (cards, weights, checkpoints, descriptions, pictures, arrays, bombs)
    sys.exit(run(makers, __doc__.split("\n")[0], ("verified cards", "architectures")))
