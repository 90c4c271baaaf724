"""The autoencoders have the parameters of the published files."""

import math
from functools import partial

import jax
import pytest

from dsg_jax.networks.autoencoder import KL_F8, VQ_F4, init_params
from support.network_cases import published_keys, torch_shapes

PUBLISHED = {"vq_f4": (VQ_F4, 55_322_782, 205), "kl_f8": (KL_F8, 83_653_863, 248)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_names_and_shapes(name):
    config, count, tensors = PUBLISHED[name]
    params = jax.eval_shape(partial(init_params, config), jax.random.key(0))
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) == count
    ours = torch_shapes(params)
    assert len(ours) == tensors
    assert ours == published_keys(name)
