"""A Python client for Haul: start, follow and read download jobs, and read and write objects. Guide: docs/python.md.

    with haul.Client("http://localhost:51080") as cluster:
        job = cluster.start(haul.SingleJob("data", "https://example.com/set.tar"))
        print(cluster.wait(job).state)

`haul.AsyncClient` has the same methods for asyncio, `haul.filesystem` is for fsspec.
"""

from common.names import Bucket
from haul.asyncclient import AsyncClient, AsyncObjectStream
from haul.client import Client, ObjectStream
from haul.errors import (
    AccessDenied,
    AlreadyExists,
    Changed,
    Damaged,
    HaulError,
    InvalidInput,
    InvalidRequest,
    NoProxyAnswers,
    NoSpace,
    NotFound,
    ServerError,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    Unsatisfiable,
    Unsupported,
)
from haul.jobs import BackendJob, HubJob, Job, Link, MultiJob, RangeJob, SingleJob
from haul.objects import ObjectEntry, ObjectInfo
from haul.states import Decision, Failure, JobStatus, LedgerLine, Survey, Task

__all__ = [
    "AccessDenied",
    "AlreadyExists",
    "AsyncClient",
    "AsyncObjectStream",
    "BackendJob",
    "Bucket",
    "Changed",
    "Client",
    "Damaged",
    "Decision",
    "Failure",
    "HaulError",
    "HubJob",
    "InvalidInput",
    "InvalidRequest",
    "Job",
    "JobStatus",
    "LedgerLine",
    "Link",
    "MultiJob",
    "NoProxyAnswers",
    "NoSpace",
    "NotFound",
    "ObjectEntry",
    "ObjectInfo",
    "ObjectStream",
    "RangeJob",
    "ServerError",
    "SingleJob",
    "Survey",
    "Task",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
    "Unsatisfiable",
    "Unsupported",
]
