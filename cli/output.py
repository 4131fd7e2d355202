"""Where commands write: results to standard output, messages to standard error, JSON as it is.

How figures are spelled is left to `cli.formats`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from rich.console import Console
from rich.text import Text

from cli import formats


def console(*, to_stderr: bool = False) -> Console:
    """A console that takes every string literally: no markup, no emoji, no highlighting, no wrapping."""
    return Console(stderr=to_stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)


def say(text: str, *, style: str = "") -> None:
    """A result line, on standard output."""
    console().print(Text(text, style=style), soft_wrap=True)


def note(text: str, *, style: str = "") -> None:
    """A message for people, on standard error."""
    console(to_stderr=True).print(Text(text, style=style), soft_wrap=True)


def lines(texts: Iterable[str]) -> None:
    """Many result lines at once; nothing in them is interpreted."""
    sys.stdout.writelines(f"{text}\n" for text in texts)


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Aligned columns under a bold header."""
    first, *rest = formats.table(header, rows, right=right)
    say(first, style="bold")
    lines(rest)


def show_json(value: object) -> None:
    """The machine-readable form: UTF-8 where the terminal can, sorted by nothing, two spaces of indent."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


@contextlib.contextmanager
def results(*, as_json: bool) -> Iterator[Callable[[str, Mapping[str, object]], None]]:
    """Results that come one by one: said in words at once, or all in one JSON array, even when an error ends them."""
    found: list[Mapping[str, object]] = []

    def tell(text: str, fields: Mapping[str, object]) -> None:
        found.append(fields)
        if not as_json:
            say(text)

    try:
        yield tell
    finally:
        if as_json:
            show_json(found)


def abandon() -> None:
    """Let what is still to be written to a standard output that takes no more go nowhere, without another error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
