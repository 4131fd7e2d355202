"""Which objects of a bucket a command means: all, one, a template, a prefix or a list, as the dialect says it.

What is done with them is left to the commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli import uris
from cli.downloads import objectlist
from cli.errors import UsageError
from cli.uris import Location

PrefixOption = Annotated[str, typer.Option("--prefix", metavar="TEXT", help="Only objects whose names begin so.")]
TemplateOption = Annotated[
    str, typer.Option("--template", metavar="TEXT", help="Only these, such as dir/obj-{000..999}.")
]
ListOption = Annotated[
    str,
    typer.Option(
        "--list", metavar="FILE|NAMES", help="Only those whose names are in FILE (- for standard input), or a,b,c."
    ),
]


def selected(where: Location, prefix: str, template: str, list_: str) -> dict[str, Any]:
    """Which objects are meant, as the dialect says it; empty for all. Raises UsageError when it is said twice."""
    given = [text for text in (where.name, prefix, template, list_) if text]
    if len(given) > 1:
        raise UsageError("name the objects once: behind the bucket, or by --prefix, --template or --list")
    if list_:
        names = list_.split(",") if "," in list_ and not Path(list_).is_file() else objectlist.read(list_)
        if not isinstance(names, list):
            raise UsageError("--list: expected names, one per line or a JSON array")
        return {"objnames": names}
    if where.name.endswith(("/", "*")) and "{" not in where.name:
        prefix = where.name.rstrip("*")
    if prefix or template or "{" in where.name:
        return {"template": prefix or template or where.name}
    return {"objnames": [uris.checked(where).name]} if where.name else {}
