"""The options that all kinds of jobs have in common, as typed and as fields of the body (wire.md §1.1); pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cli.errors import UsageError
from cli.uris import Location
from common.errors import RequestError
from common.links import check_header
from common.names import printable
from common.units import parse_duration, parse_size


@dataclass(frozen=True, slots=True)
class Options:
    """What all kinds of jobs have in common, as typed."""

    description: str = ""
    timeout: str = ""
    progress_interval: str = ""
    max_connections: int = 0
    bytes_per_hour: str = ""
    headers: Sequence[str] = field(default=())
    priority: int = 0


def common_fields(destination: Location, options: Options) -> dict[str, Any]:
    """The bucket and what was typed of the options, as fields of the body; raises UsageError naming the option."""
    body: dict[str, Any] = {"bucket": destination.bucket.to_wire()}
    if options.description:
        body["description"] = options.description
    if options.timeout:
        body["timeout"] = check_duration(options.timeout, "--download-timeout")
    if options.progress_interval:
        body["progress_interval"] = check_duration(options.progress_interval, "--progress-interval")
    if limits := _limits(options):
        body["limits"] = limits
    if options.headers:
        body["headers"] = header_fields(options.headers)
    if options.priority:
        if not 1 <= options.priority <= 5:
            raise UsageError("--priority must be 1 (lowest) to 5")
        body["priority"] = options.priority
    return body


def check_duration(text: str, option: str) -> str:
    """`text`, if it is a duration (`90s`, `1h30m`); raises UsageError naming the option."""
    seconds_of(text, option)
    return text


def seconds_of(text: str, option: str) -> float:
    """Seconds from a duration; a bare number counts seconds. Raises UsageError naming the option."""
    try:
        seconds = float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else parse_duration(text)
    except RequestError:
        seconds = -1.0
    if seconds < 0:
        raise UsageError(f'{option}: "{printable(text)}" is not a duration (expected e.g. 30s, 5m, 1h30m)')
    return seconds


def _limits(options: Options) -> dict[str, int]:
    limits = {}
    if options.max_connections < 0:
        raise UsageError("--max-conns must not be negative")
    if options.max_connections:
        limits["connections"] = options.max_connections
    if options.bytes_per_hour:
        try:
            limits["bytes_per_hour"] = parse_size(options.bytes_per_hour)
        except RequestError as error:
            raise UsageError(f"--limit-bph: {error}") from None
    return limits


def header_fields(texts: Sequence[str]) -> dict[str, list[str]]:
    """Headers `Name: value` by name; raises UsageError."""
    headers: dict[str, list[str]] = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon:
            # The text may be a secret that lacks its name, so it is not repeated.
            raise UsageError('--header: expected "Name: value"')
        try:
            check_header(name.strip(), value.strip())
        except RequestError as error:
            raise UsageError(f"--header: {error}") from None
        headers.setdefault(name.strip(), []).append(value.strip())
    return headers
