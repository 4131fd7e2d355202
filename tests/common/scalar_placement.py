"""Compares the two forms of placement on one slice of random names; importable, so that slices run in processes."""

import random

from common import bulkplacement, placement

PREFIX = "ais/@#/random/"


def disagreements(seed: int, count: int, candidates: list[int]) -> list[tuple[str, int, int]]:
    """(name, scalar owner, vectorised owner) wherever the two are not the same."""
    source = random.Random(seed)
    names = [f"{source.getrandbits(64):x}" for _ in range(count)]
    names[::1000] = [f"日本語/{name} é%" * 3 for name in names[::1000]]
    digests = bulkplacement.digests(PREFIX, names)
    vectorised = bulkplacement.owners(digests, candidates).tolist()
    choose = placement.choose
    scalar = [choose(digest, candidates) for digest in digests.tolist()]
    return [(name, one, other) for name, one, other in zip(names, scalar, vectorised, strict=True) if one != other]
