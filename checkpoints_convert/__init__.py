"""Published PyTorch checkpoints as Flax parameters, read without PyTorch."""
