"""The same placement as `common.placement` for an array of names in one pass, for jobs of millions; pure.

Apart, because loading numpy takes longer than most commands of a client, which places single objects at the most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh64_intdigest

from common.placement import GAMMA, MIX_A, MIX_B, SEED

_BLOCK = 8192
"""Names mixed at once: the working arrays of a block stay inside a core's cache."""

Digests = NDArray[np.uint64]


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

    np.add(z, np.uint64(GAMMA), out=z)
    for last in (False, True):
        xor_shift(30)
        np.multiply(z, np.uint64(MIX_A), out=z)
        xor_shift(27)
        np.multiply(z, np.uint64(MIX_B), out=z)
        xor_shift(31)
        if not last:
            np.add(z, np.uint64(GAMMA), out=z)
    np.multiply(z, np.uint64(5), out=z)
    np.right_shift(z, np.uint64(57), out=scratch)
    np.left_shift(z, np.uint64(7), out=z)
    np.bitwise_or(z, scratch, out=z)
    np.multiply(z, np.uint64(9), out=z)
    return z
