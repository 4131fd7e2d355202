"""The record of a job whose source is listed: who may add to it, what older proxies make of it, how large it gets."""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest

from common.errors import InvalidRequest
from common.metastore.base import MAX_VALUE_BYTES
from common.names import Bucket
from common.placement import digest
from common.shares import JobSpec
from proxy.downloads.records import Assignment, Figures, JobRecord
from proxy.downloads.sourcejobs import SourceJob, SourceListing

JOB = SourceJob(Bucket("there", "aws"))
SPEC = JobSpec("dnl-a", "backend", "", Bucket("here"), 7, -2, (("t1", 1), ("t2", 2)))
FIRST = Assignment("", ("t1", "t2"), ("t1", "t2"), (), (("t1", "t2"), ("t2", "t1")))


def record(**fields: object) -> JobRecord:
    listing = SourceListing(JOB, SPEC.pack(), token="p1", count=1_000)
    return replace(JobRecord("dnl-a", "backend", assignments=(FIRST,), listing=listing), **fields)


def test_what_targets_were_told_to_drop_is_never_made_part_of_the_job() -> None:
    refused = record().refusing("ab")
    assert refused.listing is not None
    with pytest.raises(InvalidRequest):
        refused.listed(replace(refused.listing, token="p2"), replace(FIRST, token="ab"), refused.listing)


def test_a_listing_that_another_proxy_has_gone_on_with_cannot_go_on_from_before() -> None:
    before = record().listing
    assert before is not None
    ahead = record().listed(replace(before, token="p2"), replace(FIRST, token="ab"), before)
    with pytest.raises(InvalidRequest):
        ahead.listed(replace(before, token="p2"), replace(FIRST, token="cd"), before)


def test_a_job_that_an_older_proxy_takes_for_ended_goes_on() -> None:
    summary = Figures(scheduled=1_000, finished=1_000, finished_ns=9)
    assert JobRecord.unpack(record(summary=summary).pack()).is_running
    listing = record().listing
    assert listing is not None
    complete = record(summary=summary, listing=replace(listing, is_complete=True))
    assert JobRecord.unpack(complete.pack()).summary == summary
    aborted = record(summary=summary, aborted_ns=5)
    assert JobRecord.unpack(aborted.pack()).summary == summary


def test_lost_tasks_are_assigned_again_while_more_are_listed() -> None:
    planned_from = record().assignments
    later = Assignment("ab", ("t1", "t2"), ("t1", "t2"))
    grown = record(assignments=(FIRST, later))
    again = grown.reassigned(Assignment("cd", ("t2",), ("t2",), ("t1",)), "t1 is lost", 5, planned_from)
    assert again.shares == (("dnl-a", "t2"), ("dnl-a.ab", "t1"), ("dnl-a.ab", "t2"), ("dnl-a.cd", "t2"))
    assert again.assignments[1] == later, "what it lost of that is seen and assigned the next time"
    with pytest.raises(InvalidRequest):
        again.reassigned(Assignment("ef", ("t2",), ("t2",), ("t1",)), "t1 is lost", 5, planned_from)


@pytest.mark.parametrize(("targets", "objects"), [(8, 10_000_000), (64, 10_000_000), (64, 100_000_000)])
def test_the_record_of_a_large_source_fits_into_the_meta_store(targets: int, objects: int) -> None:
    ids = tuple(f"haul-target-{number}" for number in range(targets))
    copies = tuple((holder, ids[digest(f"dnl-a/{holder}") % targets]) for holder in ids)
    pieces = tuple(Assignment(secrets.token_hex(4), ids, ids, (), copies) for _ in range(objects // 100_000 + 6))
    full = record(assignments=pieces)
    packed = full.pack()
    assert len(packed) <= MAX_VALUE_BYTES // 2
    assert JobRecord.unpack(packed) == full
