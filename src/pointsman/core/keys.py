"""Client keys: the digest they are looked up by."""

from __future__ import annotations

import hashlib

_CONTEXT = b"pointsman client key v1\0"


def digest(key: bytes) -> bytes:
    """Return the 32-byte digest under which a client key is kept and looked up.

    The table holds only digests, so a lookup compares no secret bytes. Keys are to be 256-bit random; the key store of
    later versions replaces the fixed context by a server pepper.
    """
    return hashlib.sha256(_CONTEXT + key).digest()
