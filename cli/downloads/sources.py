"""What a typed source means: an address of the web, a bucket that a backend reads, or another cluster's address; pure.

What is posted for it is left to `cli.downloads.requests`, listing what only this command can list to
`cli.downloads.listings`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from cli import uris
from cli.errors import UsageError
from common.names import Bucket, printable

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
_ADDRESS = re.compile(r"(?:localhost|\[[0-9A-Fa-f:.]+\]|[^/@#?]*\.[^/@#?:]*|[^/@#?:]+(?=:[0-9]))(?::([0-9]{1,5}))?\Z")
"""What stands in `ais://HOST[:PORT]/…` and is no name of a bucket; a name without dots needs its port."""
_PORT = 8080
_LITERAL = "/~!$&()*+,;=:@"
"""What a name may have in it as it is where it becomes the path of a link."""
_SCHEME_OF = {"aws": "s3", "gcp": "gs", "azure": "az", "ais": "ais"}
"""Of links, by provider; as in `common.backends.sources`, which takes long to load."""
_ALIASES = frozenset({*_SCHEME_OF, *_SCHEME_OF.values(), "oc", "oci"})


@dataclass(frozen=True, slots=True)
class Web:
    """An address that is fetched as it is, or a template of some."""

    link: str


@dataclass(frozen=True, slots=True)
class InBucket:
    """A bucket elsewhere, and the name, template or prefix in it, as typed.

    Links to its objects begin with `base`. With a `url` it is a cluster's that this one knows by its address only.
    """

    bucket: Bucket
    name: str
    base: str
    url: str = ""

    @property
    def has_ranges(self) -> bool:
        """Whether the name is a template."""
        return "{" in self.name

    @property
    def names_a_prefix(self) -> bool:
        """Whether the name by itself says that all objects are meant that begin so."""
        return not self.name or (self.name.endswith(("/", "*")) and not self.has_ranges)

    def link(self, name: str, *, has_ranges: bool = False) -> str:
        """The link to an object, or a template of links; every character of the name is taken literally."""
        return self.base + quote(name, safe=_LITERAL + ("{}" if has_ranges else ""))


Source = Web | InBucket


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a bucket or behind an index page are wanted, and whether what has gone is removed; as typed."""

    prefix: str = ""
    suffix: str = ""
    sync: bool = False
    max_delete: int | None = None
    recursive: bool = False

    @property
    def is_given(self) -> bool:
        """Whether more than one object is asked for."""
        return bool(self.prefix or self.suffix or self.sync or self.recursive or self.max_delete is not None)


ALL = Selection()


def parse(text: str) -> Source:
    """What `text` means; raises UsageError for what cannot be meant."""
    scheme = scheme_of(text)
    if scheme == "hf":
        raise UsageError(
            "a HuggingFace repository is named by an option:  haul download --hf-model|--hf-dataset NAME ais://BUCKET"
        )
    if scheme not in _ALIASES:
        return Web(text)
    host, _, path = text.partition("://")[2].partition("/")
    if scheme == "ais" and not host.startswith(("@", "#")):
        return _by_address(text, host, path)
    location = uris.parse(text)
    if location.bucket.provider not in _SCHEME_OF:
        raise UsageError(f"{scheme}:// is not a source; sources are s3://, gs://, az:// and ais://@CLUSTER/")
    if location.bucket.provider == "ais" and not location.bucket.namespace_uuid:
        raise _own_bucket(text)
    return InBucket(location.bucket, location.name, _base(location.bucket))


def scheme_of(link: str) -> str:
    """The link's scheme in lower case, empty when it has none."""
    match = _SCHEME.match(link)
    return match[1].lower() if match else ""


def link_of(text: str) -> str:
    """A typed source as a link: as it is, but for the names of objects in buckets."""
    found = parse(text)
    return found.link if isinstance(found, Web) else found.link(found.name)


def is_whole(found: Source, selection: Selection) -> bool:
    """Whether a bucket, a prefix of it, or all below a page is meant, and not one object or a template."""
    if isinstance(found, Web):
        return selection.recursive
    return selection.is_given or found.names_a_prefix


def is_listed_here(found: Source, selection: Selection) -> bool:
    """Whether it is whole, and the cluster does not list it by itself."""
    return is_whole(found, selection) and (isinstance(found, Web) or bool(found.url))


def prefix_of(found: InBucket, selection: Selection) -> str:
    """What the names of the wanted objects begin with; raises UsageError where two things are said."""
    if selection.prefix and not found.names_a_prefix:
        raise UsageError(
            f'the source names a prefix already ("{printable(found.name)}"); with --prefix it ends with / or its bucket'
        )
    return found.name.rstrip("*") + selection.prefix


def _by_address(text: str, host: str, path: str) -> InBucket:
    match = _ADDRESS.match(host)
    if not match:
        raise _own_bucket(text)
    url = f"http://{host}" if match[1] else f"http://{host}:{_PORT}"
    bucket, _, name = path.partition("/")
    if not bucket:
        raise UsageError(f'"{printable(text)}" names no bucket: expected ais://HOST:PORT/BUCKET[/NAME]')
    found = uris.parse_bucket(f"ais://{bucket}").bucket
    return InBucket(found, name, f"{url}/v1/objects/{found.name}/", url)


def _own_bucket(text: str) -> UsageError:
    return UsageError(
        f'"{printable(text)}" would be a bucket of this cluster, which is no source. A bucket of another one is\n'
        "       ais://@CLUSTER/BUCKET/NAME, by the name that it has in this cluster's configuration, or\n"
        "       ais://HOST:PORT/BUCKET/NAME, by the address of one of its proxies"
    )


def _base(bucket: Bucket) -> str:
    if bucket.provider != "ais":
        return f"{_SCHEME_OF[bucket.provider]}://{bucket.name}/"
    namespace = f"%23{bucket.namespace_name}/" if bucket.namespace_name else ""
    return f"ais://@{bucket.namespace_uuid}/{namespace}{bucket.name}/"
