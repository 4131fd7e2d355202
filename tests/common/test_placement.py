"""Placement: bit-exact with a real cluster, the same in both forms, and stable when nodes come and go."""

import json
import math
import multiprocessing
import random
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import bulkplacement, placement
from tests.common.scalar_placement import disagreements

RECORDED = json.loads((Path(__file__).parent / "hrw-vectors.json").read_text())
TARGETS = {node: int(digest) for node, digest in RECORDED["target_id_digests"].items()}
MOUNTPATHS = RECORDED["mountpaths"]
VECTORS = RECORDED["vectors"]
UINT64 = st.integers(0, 2**64 - 1)


def test_all_142_recorded_placements_are_there() -> None:
    assert len(VECTORS) == 142
    assert len({vector["uname"] for vector in VECTORS}) == 142


@pytest.mark.parametrize(("value", "weight"), [(4573842, 5026071747115404967), (0, 1905207664160064169)])
def test_mixing_function_gives_the_constants_of_the_specification(value: int, weight: int) -> None:
    assert placement.weights(value, [0]) == [weight]


def test_node_digests_are_those_that_the_cluster_published() -> None:
    assert {node: placement.digest(node) for node in TARGETS} == TARGETS


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["uname"][:40])
def test_recorded_object_lands_on_its_target_and_mountpath(vector: dict[str, str]) -> None:
    digest = placement.digest(vector["uname"])
    assert digest == int(vector["digest"])
    assert list(TARGETS)[placement.choose(digest, list(TARGETS.values()))] == vector["target"]
    mountpath = placement.choose(digest, [placement.digest(path) for path in MOUNTPATHS])
    assert MOUNTPATHS[mountpath] == vector["mountpath"]


def test_vectorised_form_places_all_recorded_objects_alike() -> None:
    digests = bulkplacement.digests("", [vector["uname"] for vector in VECTORS])
    assert digests.tolist() == [int(vector["digest"]) for vector in VECTORS]
    targets = bulkplacement.owners(digests, list(TARGETS.values()))
    assert [list(TARGETS)[index] for index in targets] == [vector["target"] for vector in VECTORS]
    mountpaths = bulkplacement.owners(digests, [placement.digest(path) for path in MOUNTPATHS])
    assert [MOUNTPATHS[index] for index in mountpaths] == [vector["mountpath"] for vector in VECTORS]


def test_both_forms_agree_on_a_million_random_names() -> None:
    seed = random.SystemRandom().getrandbits(32)
    pairs = [[placement.digest(f"target-{number}") for number in (first, first + 1)] for first in range(4)]
    slices = [(seed + number, 250_000, pair) for number, pair in enumerate(pairs)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as processes:
        found = list(processes.map(disagreements, *zip(*slices, strict=True)))
    assert found == [[], [], [], []], f"seed {seed}"


@given(st.lists(UINT64, max_size=20), st.lists(UINT64, min_size=1, max_size=8))
def test_both_forms_agree_on_any_digests(objects: list[int], candidates: list[int]) -> None:
    vectorised = bulkplacement.owners(np.array(objects, dtype=np.uint64), candidates)
    assert vectorised.tolist() == [placement.choose(digest, candidates) for digest in objects]


def test_arrays_longer_than_a_block_and_not_a_multiple_of_it() -> None:
    digests = bulkplacement.digests("b/", (str(number) for number in range(8192 * 2 + 1)))
    candidates = list(TARGETS.values())
    assert bulkplacement.owners(digests, candidates).tolist() == [
        placement.choose(d, candidates) for d in digests.tolist()
    ]


def test_digests_of_the_input_are_left_as_they_are() -> None:
    digests = bulkplacement.digests("b/", ["x", "y"])
    before = digests.copy()
    bulkplacement.owners(digests, [1, 2, 3])
    assert np.array_equal(digests, before)


def test_no_names_and_no_candidates() -> None:
    assert bulkplacement.owners(bulkplacement.digests("b/", []), [1, 2]).tolist() == []
    with pytest.raises(ValueError):
        placement.choose(1, [])


@given(UINT64, UINT64)
def test_the_first_of_equal_candidates_wins(digest: int, candidate: int) -> None:
    assert placement.choose(digest, [candidate] * 3) == 0
    assert bulkplacement.owners(np.array([digest], dtype=np.uint64), [candidate] * 3).tolist() == [0]


@given(UINT64, st.lists(UINT64, min_size=2, max_size=8, unique=True), st.randoms())
def test_the_order_of_candidates_does_not_matter(digest: int, candidates: list[int], source: random.Random) -> None:
    chosen = candidates[placement.choose(digest, candidates)]
    source.shuffle(candidates)
    assert candidates[placement.choose(digest, candidates)] == chosen


COUNT, NODES = 50_000, 16
DIGESTS = bulkplacement.digests("ais/@#/b/", (f"dir/object-{number:06d}.bin" for number in range(COUNT)))
NODE_DIGESTS = [placement.digest(f"node{number}") for number in range(NODES)]


def _about(count: int, probability: float) -> bool:
    """Within six standard deviations of the binomial distribution."""
    return abs(count - COUNT * probability) < 6 * math.sqrt(COUNT * probability * (1 - probability))


def test_objects_are_spread_evenly() -> None:
    counts = np.bincount(bulkplacement.owners(DIGESTS, NODE_DIGESTS), minlength=NODES)
    assert all(_about(int(count), 1 / NODES) for count in counts)


def test_adding_a_target_moves_its_own_share_to_it_and_nothing_else() -> None:
    before = bulkplacement.owners(DIGESTS, NODE_DIGESTS)
    after = bulkplacement.owners(DIGESTS, [*NODE_DIGESTS, placement.digest("newcomer")])
    moved = before != after
    assert set(after[moved].tolist()) == {NODES}
    assert _about(int(moved.sum()), 1 / (NODES + 1))


def test_removing_a_target_moves_only_what_it_owned_and_spreads_it() -> None:
    before = bulkplacement.owners(DIGESTS, NODE_DIGESTS)
    after = bulkplacement.owners(DIGESTS, NODE_DIGESTS[:-1])
    orphans = before == NODES - 1
    assert np.array_equal(before[~orphans], after[~orphans])
    assert set(after[orphans].tolist()) == set(range(NODES - 1))


def test_target_and_mountpath_are_chosen_independently() -> None:
    own = DIGESTS[bulkplacement.owners(DIGESTS, NODE_DIGESTS[:4]) == 0]
    counts = np.bincount(bulkplacement.owners(own, [placement.digest(path) for path in MOUNTPATHS]))
    assert counts.min() > 0.9 * len(own) / len(MOUNTPATHS)
