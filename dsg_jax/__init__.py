"""DiffStateGrad in JAX: diffusion priors restore images, guidance stays on the state's subspace.

Start with `types` (the vocabulary), then `projection` (the paper), then one file of `solvers`. The
names are listed in `__init__.pyi` and imported when they are first used: reading the lists of
solvers and tasks takes no jax.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
