"""`haul create` and `haul rmb`: buckets come and go; what is in them is shown by `cli.listing`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cli import output, uris
from cli.client import Client
from cli.endpoints import find_endpoints
from cli.entries import Wanted, entries_of
from cli.errors import CommandError, ServerError
from cli.options import EndpointOption, JsonOption
from cli.uris import Location

BucketArguments = Annotated[list[str], typer.Argument(metavar="ais://BUCKET", show_default=False, help="Buckets.")]


def create(
    buckets: BucketArguments,
    exist_ok: Annotated[
        bool,
        typer.Option("--exist-ok", "--ignore-error", "-i", help="Be content when the bucket exists already."),
    ] = False,
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Create buckets."""
    locations = [uris.parse_bucket(text) for text in buckets]
    with Client(find_endpoints(endpoint)) as client, output.results(as_json=as_json) as tell:
        for location in locations:
            try:
                client.call("POST", location.bucket_path, query=location.query, body={"action": "create-bck"})
            except ServerError as error:
                if not (exist_ok and error.status == 409):
                    raise
                tell(f"{location.uri} exists already", {"uri": location.uri, "created": False})
            else:
                tell(f"Created {location.uri}", {"uri": location.uri, "created": True})


def remove_bucket(
    buckets: BucketArguments,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, even when the bucket has objects.")] = False,
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Remove buckets; asks first when one is not empty."""
    locations = [uris.parse_bucket(text) for text in buckets]
    for location in locations:
        uris.check_own(location)
    with Client(find_endpoints(endpoint)) as client, output.results(as_json=as_json) as tell:
        for location in locations:
            if not yes and not _may_be_removed(client, location):
                output.note(f"{location.uri} stays.")
                raise typer.Exit(1)
            client.call("DELETE", location.bucket_path, query=location.query, body={"action": "destroy-bck"})
            tell(f"Removed {location.uri}", {"uri": location.uri})


def _may_be_removed(client: Client, location: Location) -> bool:
    first = next(entries_of(client, location, Wanted(props="name", limit=1)), None)
    if first is None:
        return True
    if not sys.stdin.isatty():
        raise CommandError(f"{location.uri} is not empty; add --yes to remove it with all its objects")
    return typer.confirm(f"{location.uri} is not empty. Remove it with all its objects?", err=True)
