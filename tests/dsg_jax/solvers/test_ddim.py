"""The DDIM times and constants of the latent solvers, against the reference's tables."""

import numpy as np
import pytest

from dsg_jax.schedule import linear_betas, scaled_linear_betas
from dsg_jax.solvers.ddim import ddim_steps
from support.golden_case import load

BETAS = {"ffhq": scaled_linear_betas(), "sd": scaled_linear_betas(0.00085, 0.012)}


@pytest.mark.parametrize("schedule", ["ffhq", "sd"])
@pytest.mark.parametrize("count, eta", [(1000, 0), (50, 0), (50, 1)])
def test_ddim_steps(schedule, count, eta):
    _, arrays = load("schedules/psld")
    betas = BETAS[schedule]
    np.testing.assert_allclose(betas, arrays[f"{schedule}_betas"], rtol=1e-12)
    low_noise_first = [values[::-1] for values in ddim_steps(betas, count, eta=eta)]
    index, time, a, a_prev, sigma = low_noise_first
    of = lambda name: arrays[f"{schedule}_S{count}_eta{eta}_{name}"]
    assert np.array_equal(index, np.arange(count))
    assert np.array_equal(time, of("timesteps"))
    assert np.array_equal(a, of("ddim_alphas"))
    assert np.array_equal(a_prev, of("ddim_alphas_prev"))
    np.testing.assert_allclose(sigma, of("ddim_sigmas"), rtol=1e-6)


def test_ddim_steps_refuses_counts_that_leave_the_table():
    beyond = set()
    for count in range(2, 1001):
        try:
            steps = ddim_steps(BETAS["ffhq"], count)
        except ValueError as error:
            assert "end at time 1000" in str(error)
            beyond.add(count)
        else:
            assert steps.time[0] < 1000 or count == 1000
    expected = {3, 9, 27, 36, 37, *range(101, 112), *range(251, 334), *range(501, 1000)}
    assert beyond == expected
    for count in (0, 1, 1001):
        with pytest.raises(ValueError, match=f"{count} DDIM steps: the schedule allows 2 to 1000"):
            ddim_steps(linear_betas(), count)
