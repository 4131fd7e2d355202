"""Rendezvous (HRW) hashing: which target owns an object and which mountpath of it; pure.

Bit-exact with AIStore, because clients that read straight from targets compute it themselves (wire.md §7). The seed is
AIStore's; the mixing function is its "xoshiro256 hash". Many objects at once are left to `common.bulkplacement`.
"""

from __future__ import annotations

from collections.abc import Sequence

from xxhash import xxh64_intdigest

SEED = 1103515245
_MASK = 0xFFFF_FFFF_FFFF_FFFF
GAMMA = 0x9E37_79B9_7F4A_7C15
MIX_A = 0xBF58_476D_1CE4_E5B9
MIX_B = 0x94D0_49BB_1331_11EB


def digest(text: str) -> int:
    """XXH64 of a uname, a node id or a mountpath, as the algorithm seeds it."""
    return xxh64_intdigest(text.encode(), SEED)


def weights(object_digest: int, candidates: Sequence[int]) -> list[int]:
    """The weight of every candidate (node or mountpath digest) for an object: a 64-bit mix of both digests.

    One loop without calls: this is on the way of every read.
    """
    mixed = []
    for candidate in candidates:
        z = ((candidate ^ object_digest) + GAMMA) & _MASK
        z = ((z ^ (z >> 30)) * MIX_A) & _MASK
        z = ((z ^ (z >> 27)) * MIX_B) & _MASK
        z = ((z ^ (z >> 31)) + GAMMA) & _MASK
        z = ((z ^ (z >> 30)) * MIX_A) & _MASK
        z = ((z ^ (z >> 27)) * MIX_B) & _MASK
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
