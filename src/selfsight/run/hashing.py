"""Fingerprints of files and folders: blake2b, 16 bytes, in hexadecimal."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_BLOCK: Final = 1 << 20


def hash_bytes(data: bytes) -> str:
    """Fingerprint of some bytes."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def hash_path(path: Path) -> str:
    """Fingerprint of a file's content, or of a folder's relative names and contents."""
    if path.is_dir():
        return hash_folder(hash_files(path))
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def hash_files(path: Path) -> dict[str, str]:
    """Fingerprint of every file below a folder, by its relative name."""
    files = sorted(inner for inner in path.rglob("*") if inner.is_file())
    return {file.relative_to(path).as_posix(): hash_path(file) for file in files}


def hash_folder(files: Mapping[str, str]) -> str:
    """Fingerprint of a folder from what `hash_files` says of it, so that no file is read twice."""
    digest = hashlib.blake2b(digest_size=16)
    for relative, blake2b in files.items():
        name = os.fsencode(relative)
        digest.update(str(len(name)).encode() + b":" + name + blake2b.encode())
    return digest.hexdigest()
