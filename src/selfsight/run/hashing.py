"""Fingerprints of files and folders: blake2b, 16 bytes, in hexadecimal."""

import hashlib
import os
from pathlib import Path
from typing import Final

_BLOCK: Final = 1 << 20


def hash_bytes(data: bytes) -> str:
    """Fingerprint of some bytes."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def hash_path(path: Path) -> str:
    """Fingerprint of a file's content, or of a folder's relative names and contents."""
    digest = hashlib.blake2b(digest_size=16)
    if not path.is_dir():
        _feed(digest, path)
        return digest.hexdigest()
    for file in sorted(inner for inner in path.rglob("*") if inner.is_file()):
        name = os.fsencode(file.relative_to(path).as_posix())
        digest.update(str(len(name)).encode() + b":" + name + hash_path(file).encode())
    return digest.hexdigest()


def _feed(digest: "hashlib.blake2b", path: Path) -> None:
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
