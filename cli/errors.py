"""The one error that commands raise; `cli.main` turns it into a line on standard error and an exit code."""

from __future__ import annotations

import re

FAILURE = 1
USAGE = 2
_BUCKET = re.compile(r"[a-z0-9]+://(?:[@#][\w@#-]+/)?[\w.-]+")


class CommandError(Exception):
    """The command cannot do what was asked; the text is what the user reads after `Error: `."""

    exit_code = FAILURE


class UsageError(CommandError):
    """The command line itself is at fault."""

    exit_code = USAGE


class NoAnswer(CommandError):
    """No proxy of the cluster answers; trying again may help."""


class ServerError(CommandError):
    """The cluster answered with an error: its text, HTTP status and code."""

    def __init__(self, message: str, *, status: int, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.hint = ""
        """What may have been meant; said after the text."""

    @property
    def bucket(self) -> str:
        """The bucket that the text names; empty when it names none."""
        found = _BUCKET.search(str(self))
        return found[0] if found else ""
