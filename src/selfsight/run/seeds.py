"""Random streams that depend on what they are for, and on nothing else.

`derive(seed, "round", 2, "questioner", image_id, 3)` is the same number in every process and in every order
of calls, so neither the number of workers nor the order of a batch changes a result. Each part is written
with its type and length, so ("ab", "c"), ("a", "bc") and ("1",), (1,) are different streams.
"""

import hashlib


def derive(seed: int, *path: str | int) -> int:
    """A number in [0, 2**63) for the stream named by `path` under `seed`."""
    digest = hashlib.blake2b(digest_size=8, person=b"selfsight-seed")
    for part in (seed, *path):
        kind = b"i" if isinstance(part, int) else b"s"
        text = str(int(part)).encode() if isinstance(part, int) else part.encode("utf-8", "surrogatepass")
        digest.update(kind + str(len(text)).encode() + b":" + text)
    return int.from_bytes(digest.digest(), "big") >> 1
