"""Lists of objects in the formats that people have them in, read piece by piece; pure.

Reading the bytes is left to `proxy.downloads.service`, checking names and links to `proxy.downloads.tasks`. Formats:
TSV as Google's Storage Transfer Service has it (`TsvHttpData-1.0`), CSV with a header, one JSON object a line (a ledger
is such a list), `sha256sum`'s output, Metalink 4 (RFC 5854).
"""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import quote, urljoin
from xml.parsers import expat

from common.errors import InvalidRequest
from common.expectation import FIELDS, HEX_LENGTHS, parse_expectation
from common.names import printable
from proxy.downloads.tasks import Entry, named

MAX_LINE_CHARACTERS = 65_536
_TSV_HEAD = "TsvHttpData-1.0"
_SUM_LINE = re.compile(r"\\?([0-9A-Fa-f]{64}) [ *](.+)\Z")
_HASH_TYPES = {"md5": "md5", "sha-1": "sha1", "sha-256": "sha256", "sha-512": "sha512"}
_LAST_PRIORITY = 999_999
_METALINK = "urn:ietf:params:xml:ns:metalink "
_KEPT = FIELDS | {"link", "url", "name"}

Lines = Iterable[tuple[int, str]]


def format_of(name: str, given: str) -> str:
    """The format that is given, or else what the manifest's name says; raises InvalidRequest."""
    if given:
        if given not in FORMATS:
            raise InvalidRequest(f"'format' must be one of {', '.join(FORMATS)}, found: {printable(given, 40)}")
        return given
    path = name.partition("?")[0].partition("#")[0].lower()
    for suffix, known in _SUFFIXES.items():
        if path.endswith(suffix):
            return known
    raise InvalidRequest(f"'format' is missing, and the manifest's name does not tell it: {', '.join(FORMATS)}")


def read_manifest(kind: str, chunks: Iterable[bytes], base_url: str) -> Iterator[Entry]:
    """The entries of a manifest of one of FORMATS; relative names stand behind `base_url`.

    Raises InvalidRequest that tells the line and what is wrong with it.
    """
    is_empty = True
    for entry in _metalink(chunks) if kind == "metalink" else FORMATS[kind](_lines(chunks), base_url):
        is_empty = False
        yield entry
    if is_empty:
        raise InvalidRequest("manifest: it lists no objects")


def _lines(chunks: Iterable[bytes]) -> Iterator[tuple[int, str]]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    number, rest = 0, ""
    for chunk, last in _with_end(chunks):
        try:
            rest += decoder.decode(chunk, final=last)
        except UnicodeDecodeError as error:
            raise _wrong(number + 1 + chunk[: error.start].count(b"\n"), "not valid UTF-8") from None
        *whole, rest = rest.split("\n")
        for line in [*whole, rest] if last else whole:
            number += 1
            if len(line) > MAX_LINE_CHARACTERS:
                raise _too_long(number)
            yield number, line.removesuffix("\r").removeprefix("\ufeff" if number == 1 else "")
        if len(rest) > MAX_LINE_CHARACTERS:
            raise _too_long(number + 1)


def _with_end(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    for chunk in chunks:
        yield chunk, False
    yield b"", True


def _tsv(lines: Lines, base_url: str) -> Iterator[Entry]:
    for number, line in lines:
        if number == 1:
            if line.strip() != _TSV_HEAD:
                raise _wrong(1, f"must be {_TSV_HEAD}")
        elif line.strip():
            url, *rest = line.split("\t")
            if len(rest) > 2:
                raise _wrong(number, "must be a URL, a size and an MD5, with tabs between")
            yield _entry(number, {"link": url.strip(), **dict(zip(("size", "md5"), rest, strict=False))})


def _csv(lines: Lines, base_url: str) -> Iterator[Entry]:
    """A record is one line: names with line feeds in them are no names of objects."""
    header: list[str] = []
    for number, line in lines:
        if not line.strip():
            continue
        try:
            (fields,) = csv.reader([line], strict=True)
        except (csv.Error, ValueError) as error:
            raise _wrong(number, f"not valid CSV ({error})") from None
        if not header:
            header = [field.strip().lower() for field in fields]
            unknown = [field for field in header if field not in _KEPT]
            if unknown or len(set(header)) != len(header) or not {"link", "url"} & set(header):
                raise _wrong(number, f"the first line must name columns: link or url, and any of {_shown_fields()}")
            continue
        if len(fields) != len(header):
            raise _wrong(number, f"has {len(fields)} fields, the first line has {len(header)}")
        yield _entry(number, {name: value for name, value in zip(header, fields, strict=True) if value})


def _jsonl(lines: Lines, base_url: str) -> Iterator[Entry]:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            raise _wrong(number, "not valid JSON") from None
        if not isinstance(fields, dict):
            raise _wrong(number, "must be a JSON object")
        if fields.get("link_incomplete"):
            raise _wrong(number, "its link lacks what a ledger does not show, and cannot be fetched")
        yield _entry(number, {name: value for name, value in fields.items() if name in _KEPT})


def _sha256sums(lines: Lines, base_url: str) -> Iterator[Entry]:
    if not base_url.startswith(("http://", "https://")):
        raise InvalidRequest("a manifest of sums has no links: 'base' must be the http(s) address of its directory")
    directory = urljoin(base_url, ".")
    for number, line in lines:
        if not line.strip():
            continue
        match = _SUM_LINE.match(line)
        if match is None or line.startswith("\\"):
            raise _wrong(number, "must be a SHA-256 in hexadecimal, two spaces, and a name")
        name = match[2].removeprefix("./")
        link = urljoin(base_url, quote(name))
        if not link.startswith(directory):
            raise _wrong(number, f'"{printable(name)}" is not below the directory of the sums')
        yield _entry(number, {"link": link, "name": name, "sha256": match[1]})


class _Metalink:
    """The handlers of one expat parser; `files` are those that are complete."""

    def __init__(self) -> None:
        self.files: list[tuple[int, dict[str, Any]]] = []
        self._file: dict[str, Any] | None = None
        self._best = self._priority = 0
        self._algorithm = ""
        self._text: list[str] = []
        self._characters = 0
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters_came
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.EntityDeclHandler = self._refuse

    def _refuse(self, *_: object) -> None:
        raise _wrong(self.parser.CurrentLineNumber, "a document type or an entity is not allowed")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._text, self._characters = [], 0
        name = tag.removeprefix(_METALINK)
        if name == "file":
            if len(attributes.get("name", "")) > MAX_LINE_CHARACTERS:
                raise _too_long(self.parser.CurrentLineNumber)
            self._file, self._best = {"name": attributes.get("name", "")}, _LAST_PRIORITY + 1
        elif name == "hash":
            self._algorithm = _HASH_TYPES.get(attributes.get("type", "").lower(), "")
        elif name == "url":
            priority = attributes.get("priority", "")
            is_number = priority.isascii() and priority.isdecimal() and len(priority) < len(str(_LAST_PRIORITY)) + 1
            self._priority = int(priority) if is_number else _LAST_PRIORITY

    def _end(self, tag: str) -> None:
        text, name = "".join(self._text).strip(), tag.removeprefix(_METALINK)
        if self._file is None:
            return
        if name == "size":
            self._file["size"] = text
        elif name == "hash" and self._algorithm:
            self._file[self._algorithm] = text
        elif name == "url" and self._priority < self._best:
            self._file["link"], self._best = text, self._priority
        elif name == "file":
            self.files.append((self.parser.CurrentLineNumber, self._file))
            self._file = None

    def _characters_came(self, text: str) -> None:
        self._characters += len(text)
        if self._characters > MAX_LINE_CHARACTERS:
            raise _too_long(self.parser.CurrentLineNumber)
        self._text.append(text)


def _metalink(chunks: Iterable[bytes]) -> Iterator[Entry]:
    document = _Metalink()
    for chunk, last in _with_end(chunks):
        try:
            document.parser.Parse(chunk, last)
        except expat.ExpatError as error:
            raise _wrong(error.lineno, f"not valid XML ({expat.ErrorString(error.code)})") from None
        except (LookupError, ValueError):  # of an encoding that Python does not know, or expat cannot use
            raise _wrong(document.parser.CurrentLineNumber, "not in an encoding that can be read") from None
        files, document.files = document.files, []
        for number, file in files:
            yield _entry(number, file)


def _entry(number: int, fields: dict[str, Any]) -> Entry:
    try:
        parse_expectation(fields, "the object")
        return named(fields)
    except InvalidRequest as error:
        raise _wrong(number, error.message) from None


def _wrong(number: int, what: str) -> InvalidRequest:
    return InvalidRequest(f"manifest, line {number}: {what}")


def _too_long(number: int) -> InvalidRequest:
    return _wrong(number, f"longer than {MAX_LINE_CHARACTERS} characters")


def _shown_fields() -> str:
    return ", ".join(("name", "size", *HEX_LENGTHS))


FORMATS: dict[str, Callable[[Lines, str], Iterator[Entry]]] = {
    "tsv": _tsv,
    "csv": _csv,
    "jsonl": _jsonl,
    "sha256sums": _sha256sums,
    "metalink": lambda lines, base_url: iter(()),
}
"""Metalink is not read line by line."""
_SUFFIXES = {
    ".tsv": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    "sha256sums": "sha256sums",
    ".sha256": "sha256sums",
    ".meta4": "metalink",
    ".metalink": "metalink",
}
