"""Options that many commands share, spelled once."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.formats import Units
from common.names import printable

EndpointOption = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        metavar="URL",
        help="Proxies of the cluster. Otherwise HAUL_ENDPOINT or AIS_ENDPOINT, otherwise the cluster started last.",
    ),
]
WaitOption = Annotated[bool, typer.Option("--wait", help="Return when the job has ended; exit 1 if anything failed.")]
ProgressOption = Annotated[bool, typer.Option("--progress", help="Like --wait, and show progress meanwhile.")]
WaitTimeoutOption = Annotated[
    str, typer.Option("--timeout", metavar="TIME", help="How long to wait for the job; it goes on after that.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")]


def _units(text: str) -> Units:
    try:
        return Units(text)
    except ValueError:
        raise typer.BadParameter(f"{printable(text)} ({', '.join(Units)})") from None


UnitsOption = Annotated[
    Units, typer.Option("--units", metavar="|".join(Units), parser=_units, help="How sizes are written.")
]
