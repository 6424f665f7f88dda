"""Every sample once: what was asked for is joined by key with what an engine yields, over as many attempts as allowed.

An attempt that breaks off keeps what it has yielded; the next one asks only for what is missing. A key that comes
twice counts once (the first), and one that nobody asked for is an error of the engine's.
"""

import logging
from collections.abc import Callable, Iterable, Sequence

from selfsight.errors import SelfsightError
from selfsight.policy.samplers.vllm.engine import Ask, Drawn, EngineFailure, Key

logger = logging.getLogger(__name__)

ATTEMPTS = 3


def draw_all(
    asks: Sequence[Ask], draw: Callable[[Sequence[Ask]], Iterable[tuple[Key, Drawn]]], *, attempts: int = ATTEMPTS
) -> dict[Key, Drawn]:
    """What was drawn, by key. SelfsightError when samples are missing after the last attempt."""
    asked = {ask.key for ask in asks}
    if len(asked) != len(asks):
        raise ValueError("two samples share a key; samples are joined by key")
    found: dict[Key, Drawn] = {}
    reason = ""
    for attempt in range(1, attempts + 1):
        missing = [ask for ask in asks if ask.key not in found]
        if not missing:
            break
        if attempt > 1:
            logger.warning("vLLM: %s; asking again for %d of %d samples", reason, len(missing), len(asks))
        reason = "it ended without all samples"
        try:
            for key, drawn in draw(missing):
                if key not in asked:
                    raise ValueError(f"the engine answered {key}, which was never asked for")
                found.setdefault(key, drawn)
        except EngineFailure as failure:
            reason = str(failure)
    lost = [ask.key for ask in asks if ask.key not in found]
    if lost:
        request, index = lost[0]
        raise SelfsightError(
            f"vLLM: {len(lost)} of {len(asks)} samples are missing after {attempts} attempts, the first is sample "
            f"{index} of request {request!r}: {reason}.",
            hint="If memory ran out, lower sampler.kv_cache_gib or sampler.max_num_seqs; the run can be resumed.",
        )
    return {ask.key: found[ask.key] for ask in asks}
