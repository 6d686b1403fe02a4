"""The vLLM engine (extra `vllm`): vLLM holds the live model and answers; its weights are moved as in transformers."""
