"""Groups of commands: their help in sections, and where an unknown command may be found instead.

Which commands there are is told by `cli.tree`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer
import typer.core

_NOT_OURS = {"help_option_names": ["-h", "--help"]}
_SHOWN = 3
DOWNLOADS, OBJECTS, BUCKETS, CLUSTER, SHELL = SECTIONS = (
    "Downloads and other jobs",
    "Objects",
    "Buckets",
    "The cluster",
    "Help and shell",
)
"""Of the help of `haul` itself, in this order."""


class Commands(typer.core.TyperGroup):
    """A group whose help has sections, and that knows where else in the tree an unknown command is."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Called by typer to write the list of commands into the help."""
        sections: dict[str, list[tuple[str, Any]]] = {}
        for name, command in self.commands.items():
            if not command.hidden:
                section = getattr(command, "rich_help_panel", None)
                sections.setdefault(section if isinstance(section, str) else "Commands", []).append((name, command))
        sections = {name: sections[name] for name in (*SECTIONS, *sections) if name in sections}
        width = max((len(name) for commands in sections.values() for name, _ in commands), default=0)
        for section, commands in sections.items():
            with formatter.section(section):
                limit = formatter.width - 6 - width
                rows = [(f"{name:{width}}", command.get_short_help_str(limit)) for name, command in commands]
                formatter.write_dl(rows)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Called by typer to find a command by its name; raises its usage error."""
        try:
            return super().resolve_command(ctx, args)
        except Exception as error:
            message = getattr(error, "message", "")
            named_so = (path for path in paths_of(ctx.find_root().command) if path[-1] == args[0])
            elsewhere = sorted(named_so, key=len)[:_SHOWN]
            if "Did you mean" not in message and elsewhere and hasattr(error, "message"):
                found = " or ".join(f"'haul {' '.join(path)}'" for path in elsewhere)
                error.message = f"{message} Did you mean {found}?"
            raise


def paths_of(group: Any, above: Sequence[str] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command of the tree that is shown, groups before what is in them."""
    commands: Mapping[str, Any] = getattr(group, "commands", {})
    for name, command in commands.items():
        if not command.hidden:
            yield (*above, name)
            yield from paths_of(command, (*above, name))


def group(help_text: str, *, runs_alone: bool = False) -> typer.Typer:
    """An empty group; one that `runs_alone` has a callback that does something when no command is named."""
    return typer.Typer(
        cls=Commands,
        help=help_text,
        no_args_is_help=not runs_alone,
        invoke_without_command=runs_alone,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=_NOT_OURS,
    )
