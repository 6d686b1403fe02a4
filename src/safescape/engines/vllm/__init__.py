"""The vLLM engine (extra `vllm`): vLLM holds the live model and answers, and this project moves its weights."""
