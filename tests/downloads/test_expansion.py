"""Range jobs: every object has exactly one owner, names and links agree with the template."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import placement
from common.errors import InvalidName
from common.names import Bucket
from common.shares import JobSpec
from common.template import parse_template
from target.downloads.expansion import Expansion

TARGETS = tuple((name, placement.digest(name)) for name in ("t1", "t2", "t3"))


def spec_of(template: str, subdir: str = "") -> JobSpec:
    return JobSpec("j", "range", "", Bucket("b"), 1, 0, TARGETS, template=template, subdir=subdir)


@given(st.integers(0, 50), st.integers(0, 300), st.sampled_from(["", "a/b", "a//./b/"]))
def test_targets_share_the_template_without_gap_or_overlap(start: int, count: int, subdir: str) -> None:
    template = f"http://h/dir/o-{{{start:03}..{start + count:03}}}.bin"
    expansions = [Expansion(spec_of(template, subdir), name) for name, _ in TARGETS]
    tasks = [task for expansion in expansions for task in expansion.own_tasks(0, expansion.count)]
    links = list(parse_template(template).expand())
    assert sorted(task.position for task in tasks) == list(range(len(links)))
    for task in tasks:
        assert task.link == links[task.position]
        assert task.name == ("a/b/" if subdir else "") + task.link.rpartition("/")[2]


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("http://h/{0..0}/x%20{1..2}.bin", "x 1.bin"),
        ("http://h/d/x{1..2}?token=1", "x1"),
        ("http://h/{0..0}/o", "o"),
        ("http://h/o{1..2}", "o1"),
    ],
)
def test_names_follow_the_dialect(template: str, name: str) -> None:
    assert Expansion(spec_of(template), "t1").names(0, 1) == [name]


@pytest.mark.parametrize(
    ("subdir", "name"), [("a%20b", "a b/o1"), ("{1..3}", "{1..3}/o1"), ("http://z", "/z/o1"), ("//x", "/x/o1")]
)
def test_a_subdir_is_no_template_and_is_normalised_like_a_name(subdir: str, name: str) -> None:
    assert Expansion(spec_of("http://h/o{1..2}", subdir), "t1").names(0, 1) == [name]


def test_a_name_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(InvalidName):
        Expansion(spec_of("http://h/x{1..2}", "../.."), "t1")
