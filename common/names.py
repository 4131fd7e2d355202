"""Names of buckets and objects: the rules, the spellings and the string that is hashed; pure.

Where an object's bytes lie on a disk is left to `target.storage.layout`, who owns it to `common.placement`.
Sources: wire.md §0.6 (rules), §1.2 (names taken from links).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from posixpath import normpath
from urllib.parse import unquote_to_bytes

from common.errors import InvalidName, InvalidRequest, RequestError

PROVIDERS = ("ais", "aws", "gcp", "azure", "oci")
_PROVIDER_ALIASES = {"": "ais", "s3": "aws", "gs": "gcp", "az": "azure", "oc": "oci"}
_SCHEMES = {"ais": "ais", "aws": "s3", "gcp": "gs", "azure": "az", "oci": "oc"}
_BUCKET = re.compile(r"[A-Za-z0-9_.\-]{1,64}\Z")
_NAMESPACE = re.compile(r"[A-Za-z0-9_\-]{0,32}\Z")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
MAX_OBJECT_NAME_BYTES = 16_384
"""Longer names would not fit into a request line; AIStore's own limit is the file system's."""


class InvalidProvider(RequestError):
    """The provider is none of those that the dialect knows."""

    code = "ErrInvalidBackendProvider"


def normalize_provider(provider: str) -> str:
    """Return the canonical provider for an alias (`"" → ais`, `s3 → aws`); raises InvalidProvider."""
    provider = _PROVIDER_ALIASES.get(provider, provider)
    if provider not in PROVIDERS:
        raise InvalidProvider(
            f'invalid backend provider "{provider}": must be one of '
            "[ais, aws (s3://), gcp (gs://), azure (az://), oci (oc://)]"
        )
    return provider


@dataclass(frozen=True, slots=True, order=True)
class Bucket:
    """A bucket's full name: provider, namespace (uuid of a remote cluster, name) and name; all validated.

    An alias of a provider is resolved.
    """

    name: str
    provider: str = "ais"
    namespace_uuid: str = ""
    namespace_name: str = ""
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidRequest("bucket name is missing")
        if not _BUCKET.match(self.name):
            raise InvalidRequest(
                "bucket name is invalid: may only contain letters, numbers, dashes (-), "
                "underscores (_), and dots (.), at most 64 of them"
            )
        if self.name.startswith(".") or ".." in self.name:
            raise InvalidRequest(f'bucket name "{self.name}" is invalid: no leading dot and no ".."')
        if self.provider not in PROVIDERS:
            object.__setattr__(self, "provider", normalize_provider(self.provider))
        for part in (self.namespace_uuid, self.namespace_name):
            if not _NAMESPACE.match(part):
                raise InvalidRequest(f'bucket namespace "{part}" is invalid: letters, numbers, dashes, underscores')
        object.__setattr__(self, "_hash", hash((self.name, self.provider, self.namespace_uuid, self.namespace_name)))

    def __hash__(self) -> int:
        # Buckets are looked up several times for every object.
        return self._hash

    @property
    def namespace(self) -> str:
        """The namespace as the query string spells it (`@uuid#name`), empty for the global one."""
        if not self.namespace_uuid and not self.namespace_name:
            return ""
        return f"@{self.namespace_uuid}#{self.namespace_name}"

    @property
    def uname(self) -> str:
        """`provider/@uuid#namespace/bucket/`: what stands before the object's name in the hashed string."""
        return f"{self.provider}/@{self.namespace_uuid}#{self.namespace_name}/{self.name}/"

    @property
    def cname(self) -> str:
        """The spelling for people: `ais://name`, `ais://@uuid#ns/name`, `s3://name`."""
        namespace = f"{self.namespace}/" if self.namespace else ""
        return f"{_SCHEMES[self.provider]}://{namespace}{self.name}"

    def to_wire(self) -> dict[str, object]:
        """The JSON form of wire.md §0.6."""
        return {
            "name": self.name,
            "provider": self.provider,
            "namespace": {"uuid": self.namespace_uuid, "name": self.namespace_name},
        }

    @classmethod
    def from_uname(cls, uname: str) -> Bucket:
        """Read back what `uname` gives; raises InvalidRequest for anything else."""
        provider, namespace, name = (*uname.split("/", 3), "", "")[:3]
        uuid, _, namespace_name = namespace[1:].partition("#")
        bucket = cls(name, provider, uuid, namespace_name)
        if bucket.uname != uname:
            raise InvalidRequest(f'not a bucket: "{printable(uname)}"')
        return bucket

    @classmethod
    def parse_namespace(cls, name: str, provider: str, namespace: str) -> Bucket:
        """Build from the query form: `namespace` is empty, `@uuid#name`, `#name` or a bare name."""
        uuid = ""
        if namespace.startswith("@"):
            uuid, _, namespace = namespace[1:].partition("#")
        return cls(name, normalize_provider(provider), uuid, namespace.lstrip("#"))


def parse_object_uname(uname: str) -> tuple[Bucket, str]:
    """Bucket and name of an object's uname, `PROVIDER/@UUID#NAMESPACE/BUCKET/NAME`; raises RequestError."""
    parts = uname.split("/", 3)
    if len(parts) < 4:
        raise InvalidRequest(f'not an object: "{printable(uname)}" (expecting PROVIDER/@UUID#NAMESPACE/BUCKET/NAME)')
    return Bucket.from_uname("/".join((*parts[:3], ""))), validate_object_name(parts[3])


def validate_object_name(name: str) -> str:
    """Return `name` if the dialect lets an object be made under it.

    Raises InvalidName as `validate_key`, and for a trailing slash.
    """
    if name.endswith("/"):
        raise InvalidName(f'invalid object name "{printable(name)}"')
    return validate_key(name)


def validate_key(name: str) -> str:
    """Return `name` if an object can have it, as it is (bytes are kept, no Unicode form is applied).

    With a trailing slash it is what S3's tools make for a folder. Raises InvalidName for: empty, a leading `~/`, a
    component `.` or `..`, a NUL byte, text that is not valid UTF-8, more than MAX_OBJECT_NAME_BYTES bytes. Called at
    the proxy and again at the target.
    """
    if not name or name.startswith("~/") or "\0" in name:
        raise InvalidName(f'invalid object name "{printable(name)}"')
    if "." in name and not {".", ".."}.isdisjoint(name.split("/")):
        raise InvalidName(f'invalid object name "{printable(name)}"')
    try:
        size_bytes = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidName(f'invalid object name "{printable(name)}": not valid UTF-8') from None
    if size_bytes > MAX_OBJECT_NAME_BYTES:
        raise InvalidName(f"invalid object name: {size_bytes} bytes, at most {MAX_OBJECT_NAME_BYTES} are allowed")
    return name


def printable(text: str, limit: int = 256) -> str:
    """`text` safe to show in one line of an error or a log: control characters and lone surrogates escaped."""
    if len(text) <= limit and text.isprintable():
        return text
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
    return shown if len(shown) <= limit else shown[:limit] + "…"


def decode_component(raw: bytes) -> str:
    """Percent-decode the raw bytes of a request path once; raises InvalidName if they are not UTF-8."""
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise InvalidName(
            f'invalid object name "{printable(raw.decode(errors="backslashreplace"))}": not valid UTF-8'
        ) from None


def basename_of_link(link: str) -> str:
    """The last component of a link's path as Go's `path.Base` gives it: trailing slashes off; `.` for an empty link.

    What follows `?` or `#` is no part of the path, slashes in it neither.
    """
    path = link.partition("?")[0].partition("#")[0]
    return path.rstrip("/").rpartition("/")[2] or ("/" if path.startswith("/") else ".")


def normalize_object_name(name: str) -> str:
    """A job's object name as the dialect normalises it: what a URL parser calls the path, percent-decoded.

    `LICENSE?x=1` becomes `LICENSE`, `http://host/a%20b` becomes `/a b`; a name without a path, or with a percent sign
    that begins no escape, is taken literally (wire.md §1.2). Raises InvalidName.
    """
    if name.startswith("//") or any(mark in name for mark in "%?#:"):
        name = _path_of(name) or name
    return validate_object_name(name)


def _path_of(name: str) -> str:
    scheme = _SCHEME.match(name)
    path = name[scheme.end() if scheme else 0 :].partition("#")[0].partition("?")[0]
    if scheme and not path.startswith("/"):
        return ""
    if path.startswith("//") and (scheme or not path.startswith("///")):
        path = "".join(path[2:].partition("/")[1:])
    if "%" not in path or _BROKEN_ESCAPE.search(path):
        return path
    return decode_component(path.encode())


def join_subdir(subdir: str, basename: str) -> str:
    """`path.Join(subdir, basename)` of Go: one slash between, `.` and `..` resolved lexically."""
    if not subdir:
        return basename
    joined = normpath(f"{subdir}/{basename}")
    return joined[1:] if joined.startswith("//") else joined
