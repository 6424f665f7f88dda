"""One engine seed for each sample, from the request's seed and the sample's index alone.

vLLM gives sample k of a request the seed s + k; so do we, whether it is asked for the samples together or one by one.
The first, s, is spread over 62 bits, so that the stretches of different requests do not meet.
"""

from selfsight.run.seeds import derive

_SPREAD = 1 << 62


def engine_seed(request_seed: int, index: int) -> int:
    """Seed of sample `index`; consecutive for the samples of a request."""
    return derive(request_seed, "vllm") % _SPREAD + index
