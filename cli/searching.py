"""`haul search`: finds commands by a word in their name or help."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from cli import groups, output, suggestions
from cli.options import JsonOption
from common.names import printable


def search(
    context: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="WORD", show_default=False, help="What it has to do with.")],
    as_json: JsonOption = False,
) -> None:
    """Find commands by words in their names and helps."""
    root = context.find_root().command
    found = [row for row in _commands(root) if all(word.lower() in " ".join(row).lower() for word in words)]
    if as_json:
        output.show_json([{"command": command, "help": text} for command, text in found])
        return
    if found:
        output.show_table(("COMMAND", "DOES"), found)
        return
    known = {word for path in groups.paths_of(root) for word in path}
    hint = " ".join(filter(None, (suggestions.did_you_mean(known, word) for word in words)))
    output.note(f"No command has to do with {printable(' '.join(words))}. {hint}".strip())
    raise typer.Exit(1)


def _commands(root: Any) -> Iterator[tuple[str, str]]:
    """Every command that is none of the groups, and its help in one line."""
    for path in groups.paths_of(root):
        command = root
        for word in path:
            command = command.commands[word]
        if not getattr(command, "commands", None):
            yield f"haul {' '.join(path)}", command.get_short_help_str(160)
