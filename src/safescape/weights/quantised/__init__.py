"""Quantised checkpoints: recognised by name, and dequantised into cached safetensors checkpoints; see `conversion`."""
