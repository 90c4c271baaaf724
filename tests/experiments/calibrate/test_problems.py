"""The operators of `calibrate` share one form, so that one program serves all tasks."""

import jax
import numpy as np
import pytest

from dsg_jax.priors.mixture_posterior import operator_matrix
from experiments.calibrate.problems import SHAPE, one_form, operator_of


@pytest.mark.parametrize("task", ["box_inpainting", "random_inpainting", "gaussian_deblur"])
def test_one_form_holds_masks_and_blurs(task):
    operator = operator_of(task, 0)
    x, y = (jax.random.normal(jax.random.key(i), SHAPE) for i in range(2))
    form = one_form(operator)
    np.testing.assert_allclose(form.forward(x), operator.forward(x), atol=1e-5)
    np.testing.assert_allclose(form.adjoint(y), operator.adjoint(y), atol=1e-5)
    np.testing.assert_array_equal(form.transpose(y), operator.transpose(y))
    matrix = operator_matrix(form, SHAPE)
    np.testing.assert_allclose(matrix @ np.ravel(x), np.ravel(operator.forward(x)), atol=1e-5)
