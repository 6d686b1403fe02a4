"""GGUF files, converted exactly into cached safetensors checkpoints; see `conversion`."""
