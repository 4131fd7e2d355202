"""The calls of `/v1/download`, typed; what becomes of the answers is left to the commands."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from cli.client import Client
from cli.errors import CommandError, ServerError
from haul import calls
from haul.states import JobStatus

_PATH = "/v1/download"


def start(client: Client, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Post a job; returns an answer with its `id`, or what a dry run has found.

    A proxy that dies meanwhile is followed by another, and there is one job all the same.
    """
    answer = client.call("POST", _PATH, body=body, headers={"Idempotency-Key": secrets.token_hex(16)})
    if not isinstance(answer, dict) or not ("id" in answer or "dry_run" in answer):
        raise CommandError("the cluster accepted the job but did not tell its id")
    return answer


def status(client: Client, job_id: str, *, only_active: bool = False) -> JobStatus:
    """One job; with `only_active` neither the finished objects nor the errors are listed."""
    answer = client.call("GET", _PATH, body={"id": job_id, "only_active_tasks": only_active, "with_bytes": True})
    # AIStore answers null until the first figures have arrived.
    return JobStatus.from_wire(answer or {"id": job_id})


def jobs(client: Client, *, regex: str = "", only_active: bool = False) -> list[JobStatus]:
    """All jobs whose description matches, the one that was started last at the end."""
    return client.run(calls.jobs(regex, only_active=only_active))


def abort(client: Client, job_id: str) -> None:
    """Stop a job; harmless when it has ended."""
    client.run(calls.change("DELETE", "abort", job_id))


def remove(client: Client, job_id: str) -> None:
    """Forget a job that has ended."""
    client.run(calls.change("DELETE", "remove", job_id))


def pause(client: Client, job_id: str) -> None:
    """Let a job rest; harmless when it does already."""
    client.run(calls.change("POST", "pause", job_id))


def resume(client: Client, job_id: str) -> None:
    """Let a job go on; harmless when it does already."""
    client.run(calls.change("POST", "resume", job_id))


def story(client: Client, job_id: str) -> Mapping[str, Any]:
    """What was decided while a job ran, and why."""
    answer: Mapping[str, Any] = client.call("GET", f"{_PATH}/{job_id}/story")
    return answer


def is_missing(error: ServerError) -> bool:
    """Whether the job does not exist."""
    return error.status == 404
