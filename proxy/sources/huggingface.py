"""Lists a repository of HuggingFace's Hub at one commit: paths, sizes, SHA-256; fetching files is left to targets.

Asked through huggingface_hub, which is an extra. The Hub is the one that the configuration names, never one that a job
names: a proxy asks nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from common.errors import AccessDenied, InvalidRequest, ObjectNotFound, Unavailable, Unsupported
from common.names import printable
from proxy.sources.repository import DATASET, Listing, Repository, RepositoryFile

DEFAULT_ENDPOINT = "https://huggingface.co"
_CONVERTED = "refs/convert/parquet"
"""The branch on which the Hub keeps datasets as Parquet files, `CONFIGURATION/SPLIT/NUMBER.parquet`."""
_PARTIAL = "partial-"
"""What the folder of a split begins with, of which only a part has been converted (the first 5 GB)."""
_ANSWER_SECONDS = 30.0
_OF_GIT = ".gitattributes"


class Hub:
    """The Hub at `endpoint`, or a mirror of it."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint.rstrip("/")

    async def list(self, repository: Repository) -> Listing:
        """What is in a repository now.

        Raises InvalidRequest, ObjectNotFound, AccessDenied, Unavailable; Unsupported where huggingface_hub is missing.
        """
        return await asyncio.to_thread(self._list, repository)

    def _list(self, repository: Repository) -> Listing:
        try:
            import huggingface_hub  # noqa: PLC0415 - an extra
        except ImportError:
            raise Unsupported(
                'HuggingFace repositories need the extra "hf" on every proxy: pip install "haul[hf]"'
            ) from None
        api = huggingface_hub.HfApi(endpoint=self._endpoint, token=repository.token or False)
        with _translated(repository):
            if repository.is_converted and (converted := self._converted(api, repository)) is not None:
                return converted
            return self._at(api, repository, repository.revision or None)

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
        info = api.repo_info(repository.id, repo_type=repository.kind, revision=revision, timeout=_ANSWER_SECONDS)
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


@contextmanager
def _translated(repository: Repository) -> Iterator[None]:
    """What huggingface_hub raises, as what a client understands."""
    from huggingface_hub import errors  # noqa: PLC0415 - an extra

    shown = printable(repository.shown)
    try:
        yield
    except errors.HFValidationError:
        raise InvalidRequest(f'"{printable(repository.id)}" is no name of a HuggingFace repository') from None
    except errors.GatedRepoError:
        raise AccessDenied(
            f"{shown} is gated: accept its terms on its page, and give a token of that account"
        ) from None
    except errors.RepositoryNotFoundError:
        hint = "its token may not read it" if repository.token else "it needs a token"
        raise ObjectNotFound(f"{shown} does not exist, or {hint}") from None
    except errors.RevisionNotFoundError:
        raise ObjectNotFound(f"{shown}: there is no such revision") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise AccessDenied(f"{shown}: the Hub refuses access ({status})") from None
        raise Unavailable(f"{shown}: the Hub answers {status}; try again later") from None
    except Exception as error:  # noqa: BLE001 - which HTTP library it uses, and what that raises, is its own affair
        raise Unavailable(f"{shown}: the Hub does not answer ({type(error).__name__}); try again later") from None
