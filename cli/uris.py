"""`ais://bucket/object` as typed on the command line, and the same as paths and queries of the API; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from cli import suggestions
from cli.errors import UsageError
from common.errors import RequestError
from common.names import Bucket, printable, validate_object_name
from haul.places import Place

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9]*)://(.*)\Z", re.DOTALL)
_BARE = re.compile(r"[\w.\-]+\Z")


@dataclass(frozen=True, slots=True)
class Location:
    """A bucket and what stands behind it: an object's name, a prefix, or nothing."""

    bucket: Bucket
    name: str = ""

    @property
    def uri(self) -> str:
        return f"{self.bucket.cname}/{self.name}" if self.name else self.bucket.cname

    @property
    def is_outside(self) -> bool:
        """Whether the bucket is kept by somebody else, and the cluster has what it has read of it."""
        return self.bucket.provider != "ais" or bool(self.bucket.namespace_uuid)

    @property
    def bucket_path(self) -> str:
        """The path of the bucket in the API."""
        return Place(self.bucket).path

    @property
    def object_path(self) -> str:
        """The path of the object in the API; every byte of the name survives it."""
        return f"/v1/objects/{self.bucket.name}/{quote(self.name, safe='/')}"

    @property
    def query(self) -> dict[str, str]:
        """The query that names provider and namespace."""
        return Place(self.bucket).query


def has_scheme(text: str) -> bool:
    """Whether it names something in a cluster and not a local file."""
    return bool(_SCHEME.match(text))


def parse(text: str) -> Location:
    """Read `ais://[@uuid#namespace/]bucket[/name]`; raises UsageError."""
    match = _SCHEME.match(text)
    if not match:
        raise UsageError(f'"{printable(text)}" is not a bucket or object: expected ais://BUCKET[/NAME]')
    scheme, rest = match.groups()
    namespace = ""
    if rest.startswith(("@", "#")):
        namespace, _, rest = rest.partition("/")
    bucket, _, name = rest.partition("/")
    if scheme.lower() not in suggestions.SCHEMES:
        hint = suggestions.for_scheme(scheme) or "There are ais://, s3://, gs://, az:// and oc://."
        raise UsageError(f'"{printable(text)}": there is no provider {scheme}://. {hint}')
    try:
        return Location(Bucket.parse_namespace(bucket, scheme.lower(), namespace), name)
    except RequestError as error:
        raise UsageError(f'"{printable(text)}": {error}') from None


def parse_bucket(text: str) -> Location:
    """A bucket and nothing behind it, whose scheme may be left out; raises UsageError."""
    location = parse(f"ais://{text}" if _BARE.match(text) else text)
    if location.name:
        raise UsageError(f'"{printable(text)}" names an object, a bucket is expected: {location.bucket.cname}')
    return Location(location.bucket)


def parse_bucket_or_object(text: str) -> Location:
    """A bucket, whose scheme may be left out, or an object with its scheme; raises UsageError."""
    return parse_bucket(text) if _BARE.match(text) else parse(text)


def parse_object(text: str) -> Location:
    """A whole object name; raises UsageError."""
    location = parse(text)
    if not location.name:
        raise UsageError(f'"{printable(text)}" names no object: expected {location.bucket.cname}/NAME')
    return checked(location)


def check_own(location: Location) -> None:
    """Raise UsageError for what is kept elsewhere: from here nothing is removed there."""
    if location.is_outside:
        raise UsageError(
            f"nothing is removed at {location.bucket.cname}; to put what is here of it out of the cluster:\n"
            f"       haul evict {printable(location.uri)}"
        )


def checked(location: Location) -> Location:
    """The location, if its name may name an object; raises UsageError."""
    try:
        validate_object_name(location.name)
    except RequestError as error:
        raise UsageError(str(error)) from None
    return location
