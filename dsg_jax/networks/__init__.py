"""Score networks in Flax Linen. Parameter paths equal the checkpoint's names, joined by dots."""
