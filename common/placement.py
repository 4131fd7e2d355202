"""Rendezvous (HRW) hashing: which target owns an object and which mountpath of it; pure.

Bit-exact with AIStore, because clients that read straight from targets compute it themselves (wire.md §7). The seed is
AIStore's; the mixing function is its "xoshiro256 hash". `owners` is the vectorised form: one pass over an array of
names, for jobs of millions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh64_intdigest

SEED = 1103515245
_MASK = 0xFFFF_FFFF_FFFF_FFFF
_GAMMA = 0x9E37_79B9_7F4A_7C15
_MIX_A = 0xBF58_476D_1CE4_E5B9
_MIX_B = 0x94D0_49BB_1331_11EB
_BLOCK = 8192
"""Names mixed at once: the working arrays of a block stay inside a core's cache."""

Digests = NDArray[np.uint64]


def digest(text: str) -> int:
    """XXH64 of a uname, a node id or a mountpath, as the algorithm seeds it."""
    return xxh64_intdigest(text.encode(), SEED)


def weights(object_digest: int, candidates: Sequence[int]) -> list[int]:
    """The weight of every candidate (node or mountpath digest) for an object: a 64-bit mix of both digests.

    One loop without calls: this is on the way of every read.
    """
    mixed = []
    for candidate in candidates:
        z = ((candidate ^ object_digest) + _GAMMA) & _MASK
        z = ((z ^ (z >> 30)) * _MIX_A) & _MASK
        z = ((z ^ (z >> 27)) * _MIX_B) & _MASK
        z = ((z ^ (z >> 31)) + _GAMMA) & _MASK
        z = ((z ^ (z >> 30)) * _MIX_A) & _MASK
        z = ((z ^ (z >> 27)) * _MIX_B) & _MASK
        z = ((z ^ (z >> 31)) * 5) & _MASK
        mixed.append((((z << 7) | (z >> 57)) * 9) & _MASK)
    return mixed


def choose(object_digest: int, candidates: Sequence[int]) -> int:
    """Index of the candidate (node or mountpath digest) with the largest weight; the first one at a tie.

    Raises ValueError when there are no candidates.
    """
    if len(candidates) == 1:
        return 0
    mixed = weights(object_digest, candidates)
    return mixed.index(max(mixed))


def digests(prefix: str, names: Iterable[str]) -> Digests:
    """Digests of `prefix + name` for every name, as one array."""
    return np.array([xxh64_intdigest((prefix + name).encode(), SEED) for name in names], dtype=np.uint64)


def owners(object_digests: Digests, candidates: Sequence[int]) -> NDArray[np.intp]:
    """For every object the index of its candidate; agrees with `choose` element by element."""
    result = np.empty(len(object_digests), dtype=np.intp)
    for start in range(0, len(object_digests), _BLOCK):
        block = object_digests[start : start + _BLOCK]
        best = _mix_array(block ^ np.uint64(candidates[0]))
        index = np.zeros(len(block), dtype=np.intp)
        for position, candidate in enumerate(candidates[1:], start=1):
            weight = _mix_array(block ^ np.uint64(candidate))
            better = weight > best
            index[better] = position
            np.maximum(best, weight, out=best)
        result[start : start + _BLOCK] = index
    return result


def _mix_array(z: Digests) -> Digests:
    """`weights` of an array of its own, in place; unsigned 64-bit arithmetic wraps as the algorithm wants."""
    scratch = np.empty_like(z)

    def xor_shift(bits: int) -> None:
        np.right_shift(z, np.uint64(bits), out=scratch)
        np.bitwise_xor(z, scratch, out=z)

    np.add(z, np.uint64(_GAMMA), out=z)
    for last in (False, True):
        xor_shift(30)
        np.multiply(z, np.uint64(_MIX_A), out=z)
        xor_shift(27)
        np.multiply(z, np.uint64(_MIX_B), out=z)
        xor_shift(31)
        if not last:
            np.add(z, np.uint64(_GAMMA), out=z)
    np.multiply(z, np.uint64(5), out=z)
    np.right_shift(z, np.uint64(57), out=scratch)
    np.left_shift(z, np.uint64(7), out=z)
    np.bitwise_or(z, scratch, out=z)
    np.multiply(z, np.uint64(9), out=z)
    return z
