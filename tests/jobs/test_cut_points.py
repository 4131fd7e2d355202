"""A thousand breaks at random places of large objects: everything ends whole, and the bytes are fetched once."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest
from xxhash import xxh64_hexdigest

from tests.cluster import Cluster
from tests.faults import Cut
from tests.origin import Origin

MIB = 1 << 20
ORIGINS, OBJECTS, CUTS = 8, 25, 5
"""Several origins, because one that breaks all the time is asked for second attempts ten times a second at most. Every
other one resets, which loses what the kernels have sent and not read; the others just end."""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_thousand_random_cuts(tmp_path: Path) -> None:
    chance = random.Random(20261124)
    body = chance.randbytes(12 * MIB)
    sizes: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        origins = [stack.enter_context(Origin()) for _ in range(ORIGINS)]
        cluster = stack.enter_context(Cluster(tmp_path, targets=1, mountpaths=2, retry_attempts=8))
        objects = {}
        for number, origin in enumerate(origins):
            for n in range(OBJECTS):
                name = f"{number}-{n}"
                sizes[name] = chance.randrange(8 * MIB + 1, 12 * MIB)
                objects[name] = origin.put(f"/{name}", body[: sizes[name]])
                cuts = [Cut(chance.randrange(0, 4 * MIB), reset=number % 2 == 1) for _ in range(CUTS)]
                origin.misbehave(f"/{name}", *cuts)
        api = cluster.api
        status = api.finished(api.download(type="multi", objects=objects), seconds=300)
        assert (status["finished_cnt"], status["error_cnt"]) == (len(objects), 0), status["download_errors"][:3]
        entries = {entry["name"]: entry for entry in api.list("b", props="name,size,checksum")}
        assert {name: int(entry["size"]) for name, entry in entries.items()} == sizes
        assert all(entries[name]["checksum"] == xxh64_hexdigest(body[:size]) for name, size in sizes.items())
        for number, (what, allowed_bytes) in enumerate((("end", 64 * 1024), ("reset", 8 * MIB))):
            ours = range(number, ORIGINS, 2)
            paths = [(origins[o], f"/{o}-{n}") for o in ours for n in range(OBJECTS)]
            made = sum(CUTS - len(origin.faults[path]) for origin, path in paths)
            again = sum(origins[o].bytes_sent for o in ours) - sum(sizes[path[1:]] for _, path in paths)
            print(f"{made} cuts by {what}: {again / MIB:.1f} MiB again, {again / made / MIB:.3f} MiB each")
            assert made >= 450, "an object that is whole early has no more cuts"
            assert again <= made * allowed_bytes
        api.call("DELETE", "/v1/buckets/b", {"action": "destroy-bck"})
