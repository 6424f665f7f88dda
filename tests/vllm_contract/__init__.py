"""Contract tests against the real vLLM engine on a CPU: `make test-vllm`.

The folder is not named vllm, which would stand in for the package where that is not installed.
"""
