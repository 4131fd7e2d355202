"""Lists a repository of HuggingFace's Hub at one commit: paths, sizes, digests; fetching files is left to targets.

Asked through huggingface_hub, which is an extra (`hubclient`). The Hub is the one that the configuration names, never
one that a job names: a proxy asks nobody else. A Hub that is slow holds up listings, and nothing else.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from common.backends.base import OriginUnavailable, missing_extra
from common.clock import monotonic
from common.errors import AccessDenied, HaulError, InvalidRequest, ObjectNotFound, OriginError, Unavailable
from common.names import printable
from proxy.sources import hubclient
from proxy.sources.holds import HubHolds
from proxy.sources.repository import DATASET, Listing, Repository, RepositoryFile

DEFAULT_ENDPOINT = "https://huggingface.co"
_CONVERTED = "refs/convert/parquet"
"""The branch on which the Hub keeps datasets as Parquet files, `CONFIGURATION/SPLIT/NUMBER.parquet`."""
_PARTIAL = "partial-"
"""What the folder of a split begins with, of which only a part has been converted (the first 5 GB)."""
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_OF_GIT = ".gitattributes"
_AT_ONCE = 4
_MAX_LISTINGS = 32
"""Those that wait for a thread included."""
_LISTING_SECONDS = 120.0
_SPARE_SECONDS = 1.0
"""The Hub tells whole seconds."""
_PATIENCE_SECONDS = 30.0
"""A client is let wait so long for a Hub that asks for time; if it wants more, the client is told how much."""


class Hub:
    """The Hub at `endpoint`, or a mirror of it; belongs to the event loop."""

    def __init__(self, endpoint: str, holds: HubHolds, listing_seconds: float = _LISTING_SECONDS) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._listing_seconds = listing_seconds
        self._threads = ThreadPoolExecutor(_AT_ONCE, "hub")
        self._room = threading.Semaphore(_MAX_LISTINGS)
        self._preparing = threading.Lock()
        self._holds = holds

    async def list(self, repository: Repository) -> Listing:
        """What is in a repository now.

        Raises InvalidRequest, ObjectNotFound, AccessDenied, OriginUnavailable with the time that the Hub asks for,
        Unavailable when too many ask at once; Unsupported where huggingface_hub is missing.
        """
        deadline = monotonic() + self._listing_seconds
        try:
            return await self._try(repository, deadline)
        except OriginUnavailable as error:
            wait = error.retry_after_seconds
            if wait is None or wait > min(_PATIENCE_SECONDS, deadline - monotonic()):
                raise
        await asyncio.sleep(wait + _SPARE_SECONDS)
        return await self._try(repository, deadline)

    def close(self) -> None:
        """List nothing more; what is being asked is left to its deadline."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _try(self, repository: Repository, deadline: float) -> Listing:
        """One attempt; none while the Hub does not want any with this token."""
        held_seconds = self._holds.seconds(repository.token)
        if held_seconds > 0:
            raise _busy(repository, "the Hub allows no more requests for now", held_seconds)
        try:
            listing, hold_seconds = await self._on_thread(repository, deadline)
        except OriginUnavailable as error:
            if error.retry_after_seconds is not None:
                self._holds.told(repository.token, error.retry_after_seconds)
            raise
        if hold_seconds is not None:
            self._holds.told(repository.token, hold_seconds)
        return listing

    async def _on_thread(self, repository: Repository, deadline: float) -> tuple[Listing, float | None]:
        if not self._room.acquire(blocking=False):
            raise Unavailable("too many HuggingFace repositories are being listed by this proxy; try again later")
        asked = self._threads.submit(self._list, repository, deadline)
        asked.add_done_callback(lambda _: self._room.release())
        try:
            async with asyncio.timeout(deadline - monotonic()):
                return await asyncio.wrap_future(asked)
        except TimeoutError:
            raise _busy(repository, "the Hub is too slow", None) from None

    def _list(self, repository: Repository, deadline: float) -> tuple[Listing, float | None]:
        """The listing, and how long the Hub wants no more requests."""
        try:
            with self._preparing:
                library = hubclient.library()
        except ImportError:
            raise missing_extra("HuggingFace repositories", "hf") from None
        api = library.HfApi(endpoint=self._endpoint, token=repository.token or False)
        with hubclient.asking(deadline) as state, _translated(repository):
            listing = self._converted(api, repository) if repository.is_converted else None
            if listing is None:
                listing = self._at(api, repository, repository.revision or None)
        return listing, state.hold_seconds

    def _converted(self, api: Any, repository: Repository) -> Listing | None:
        """None when the Hub has converted nothing, or only a part of it."""
        from huggingface_hub.errors import RevisionNotFoundError  # noqa: PLC0415 - an extra

        try:
            listing = self._at(api, repository, _CONVERTED)
        except RevisionNotFoundError:
            return None
        files = [file for file in listing.files if file.path.endswith(".parquet")]
        is_partial = any(part.startswith(_PARTIAL) for file in files for part in file.path.split("/"))
        return Listing(listing.commit, files) if files and not is_partial else None

    def _at(self, api: Any, repository: Repository, revision: str | None) -> Listing:
        info = api.repo_info(repository.id, repo_type=repository.kind, revision=revision)
        if not _COMMIT.fullmatch(info.sha or ""):
            raise ValueError("an answer without a commit")
        if info.gated:  # what it lists anybody may see
            api.auth_check(repository.id, repo_type=repository.kind)
        tree = api.list_repo_tree(repository.id, repo_type=repository.kind, revision=info.sha, recursive=True)
        folder = "datasets/" if repository.kind == DATASET else ""
        base = f"{self._endpoint}/{folder}{repository.id}/resolve/{info.sha}/"
        files = [
            RepositoryFile(
                *(entry.path, base + quote(entry.path), entry.size),
                *((entry.lfs.sha256, "") if entry.lfs else ("", entry.blob_id)),
            )
            for entry in tree
            if hasattr(entry, "size") and entry.path != _OF_GIT  # what has no size is a folder
        ]
        return Listing(info.sha, files)


def _busy(repository: Repository, what: str, wait_seconds: float | None) -> OriginUnavailable:
    when = "later" if wait_seconds is None else f"in {max(1, round(wait_seconds))} s"
    return OriginUnavailable(f"{printable(repository.shown)}: {what}; try again {when}", wait_seconds)


@contextmanager
def _translated(repository: Repository) -> Iterator[None]:
    """What huggingface_hub raises, as what a client understands."""
    from huggingface_hub import errors  # noqa: PLC0415 - an extra

    try:
        yield
    except OriginUnavailable as error:
        raise _busy(repository, error.message, error.retry_after_seconds) from None
    except errors.HFValidationError:
        raise InvalidRequest(f'"{printable(repository.id)}" is no name of a HuggingFace repository') from None
    except errors.HfHubHTTPError as error:
        raise _refusal(repository, error) from None
    except (errors.HTTPError, OSError) as error:  # type: ignore[attr-defined] # of the HTTP library that it uses
        raise _busy(repository, f"the Hub does not answer ({type(error).__name__})", None) from None
    except RuntimeError:  # the one client for all threads is closed when one of them gets no connection
        raise _busy(repository, "the Hub does not answer", None) from None
    except (ValueError, KeyError, TypeError) as error:
        shown = printable(repository.shown)
        raise OriginError(f"{shown}: the Hub's answer makes no sense ({type(error).__name__})") from None


def _refusal(repository: Repository, error: Any) -> HaulError:
    """What an error answer means."""
    from huggingface_hub import errors  # noqa: PLC0415 - an extra

    shown, status = printable(repository.shown), error.response.status_code
    if isinstance(error, errors.GatedRepoError):
        return AccessDenied(f"{shown} is gated: accept its terms on its page, and give a token of that account")
    if isinstance(error, errors.RepositoryNotFoundError):
        hint = "its token may not read it" if repository.token else "it needs a token"
        return ObjectNotFound(f"{shown} does not exist, or {hint}")
    if isinstance(error, errors.RevisionNotFoundError):
        return ObjectNotFound(f"{shown}: there is no such revision")
    if status in (401, 403):
        return AccessDenied(f"{shown}: the Hub refuses access ({status})")
    return OriginError(f"{shown}: the Hub answers {status}")
