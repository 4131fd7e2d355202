"""A repository of HuggingFace's Hub and what is in it, as others pass it around; pure data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

MODEL, DATASET = "model", "dataset"


@dataclass(frozen=True, slots=True)
class Repository:
    """`revision` is a branch, a tag or a commit; empty for what the Hub shows first. The token is a secret.

    `is_converted`: of a dataset, rather the Parquet files that the Hub has made of it than its own files.
    """

    kind: str
    id: str
    revision: str = ""
    token: str = field(default="", repr=False)
    is_converted: bool = False

    @property
    def shown(self) -> str:
        """As `hf://` paths have it."""
        folder = "datasets/" if self.kind == DATASET else ""
        return f"hf://{folder}{self.id}" + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True, slots=True)
class RepositoryFile:
    """One file: `sha256` is known of large ones, of the others `git_sha1`, the id that git gives them."""

    path: str
    link: str
    size_bytes: int
    sha256: str = ""
    git_sha1: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """All files of a repository at one commit, whatever becomes of its branches."""

    commit: str
    files: Sequence[RepositoryFile]
