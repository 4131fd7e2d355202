"""Which cluster a command speaks to: the option, the environment, or the cluster started last; asks nothing of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from cli import state
from cli.errors import CommandError, UsageError
from haul.endpoints import VARIABLES, proxy_urls
from haul.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The proxies to try in turn, where they are known from in words, and the directory if they run on this machine."""

    urls: Sequence[str]
    known_from: str
    directory: str = ""


def find_endpoints(given: str | None) -> Endpoints:
    """`--endpoint`, else HAUL_ENDPOINT or AIS_ENDPOINT, else the cluster started last.

    Raises UsageError for what is no URL, and CommandError when no cluster is known.
    """
    if given:
        return Endpoints(_urls(given), "--endpoint")
    variable, urls = endpoints_from_environment()
    if urls:
        return Endpoints(urls, variable)
    if last := state.load():
        return Endpoints(last.endpoints, "the cluster started last", last.directory)
    raise CommandError(
        "no cluster is known. Start one on this machine:  haul cluster up\n"
        f"       or say where one is:  --endpoint URL  or the environment variable {VARIABLES[0]}"
    )


def endpoints_from_environment() -> tuple[str, Sequence[str]]:
    """The variable that names proxies, and their URLs; both empty when there is none. Raises UsageError."""
    for variable in VARIABLES:
        if urls := _urls(os.environ.get(variable, "")):
            return variable, urls
    return "", ()


def _urls(text: str) -> Sequence[str]:
    try:
        return proxy_urls(text)
    except InvalidInput as error:
        raise UsageError(str(error)) from None
