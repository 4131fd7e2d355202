"""The objects of a job, from what a user wrote: names, links, and what must not be; pure.

A million entries are normal here, so an ordinary name or link is recognised by one regular expression and everything
else goes the long way through `common.names` and `common.links`. Sources: wire.md §1.2 and §1.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from common.errors import InvalidName, InvalidRequest
from common.expectation import FIELDS, Expectation, parse_expectation
from common.links import complete_link, redact
from common.names import basename_of_link, join_subdir, normalize_object_name, printable
from common.template import Template, first_collision, name_of, parse_template
from proxy.jsonbody import RepeatedKeys, is_unicode, string, type_name

_ORDINARY_LINK = re.compile(r"https?://[A-Za-z0-9.\-]+(?::[0-9]{1,5})?/[!-\[\]-~]*\Z")
_ORDINARY_NAME = re.compile(r"[A-Za-z0-9_\-][A-Za-z0-9_.\-]{0,254}(?:/[A-Za-z0-9_\-][A-Za-z0-9_.\-]{0,254}){0,40}\Z")
_ESCAPE_WITH_RANGE = re.compile(r"%[0-9A-Fa-f]?\{")
_WHAT = "invalid download request"
_ENTRY_FIELDS = FIELDS | {"link", "url", "name"}
NO_NAME = "can not extract a valid 'object_name' from the provided download 'link'"


@dataclass(frozen=True, slots=True)
class TaskList:
    """Objects of a job sorted by name; a task's position in the job is its index here."""

    names: list[str]
    links: list[str] = field(repr=False)
    expected: Mapping[str, Expectation] = field(default_factory=dict)
    """What the job knows of some of its objects, by name."""
    removes_ns: Mapping[str, int] = field(default_factory=dict)
    """Those that are to be removed, by name: when they were stored."""

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True)
class RangeTasks:
    """Objects of a job that targets expand themselves; `template` has a complete link as its text."""

    template: Template = field(repr=False)
    subdir: str

    def __len__(self) -> int:
        return self.template.count


def single_task(fields: dict[str, Any]) -> tuple[TaskList, str]:
    """The one object of a `single` job, and `<link> -> <name>`'s link as it may be shown."""
    link, name = string(fields, "link", _WHAT), string(fields, "object_name", _WHAT)
    if not link and name:
        raise InvalidRequest("missing 'link' in the request body")
    if not name:
        name = _basename(link)
        if not name:
            raise InvalidRequest(NO_NAME)
    complete, name = complete_link(link), normalize_object_name(name)
    expected = parse_expectation(fields, _WHAT)
    return TaskList([name], [complete], {name: expected} if expected else {}), shown_link(link, complete)


def multi_tasks(objects: object) -> TaskList:
    """The objects of a `multi` job: a map of names to links, or a list of links."""
    if objects is None:
        raise InvalidRequest("body should not be empty")
    if isinstance(objects, RepeatedKeys):
        return collect(objects.pairs)
    if isinstance(objects, dict):
        return collect(objects.items())
    if isinstance(objects, list):
        return collect(named(entry) for entry in objects)
    raise InvalidRequest(f"JSON body should be map (string -> string) or array of strings, found: {type_name(objects)}")


class Listed(NamedTuple):
    """The objects of a job as they are listed elsewhere, and what that is, where it is worth being told.

    `source` may be shown: it has the version that was listed, and no secrets.
    """

    entries: Iterable[Entry]
    source: str = ""


Entry = tuple[str, object]
"""An object's name, and its link or a map with the link and what is known of the object."""


def range_tasks(fields: dict[str, Any]) -> tuple[RangeTasks, str]:
    """The template of a `range` job, and how it may be shown.

    Numbers are all that differs between its names, so that checking the first and the last of them checks all.
    """
    text, subdir = string(fields, "template", _WHAT), string(fields, "subdir", _WHAT)
    if not text:
        raise InvalidRequest("missing 'template' in the request body")
    parse_template(text)
    complete = complete_link(text)
    template = parse_template(complete)
    if _ESCAPE_WITH_RANGE.search(complete):
        raise InvalidRequest(f"invalid 'bash' template \"{redact(text)}\": a range inside of a percent escape")
    collision = first_collision(template)
    if collision is not None:
        raise _collision(normalize_object_name(join_subdir(subdir, name_of(collision[0]))), *collision)
    count = template.count
    for begin in {0, count - 1}:
        link = next(template.expand(begin))
        if not _basename(complete_link(link)):
            raise InvalidRequest(NO_NAME)
        normalize_object_name(join_subdir(subdir, name_of(link)))
    return RangeTasks(template, subdir), shown_link(text, complete)


def shown_link(link: str, complete: str) -> str:
    """A link as the user wrote it, without its secrets."""
    shown = redact(complete)
    return shown if "://" in link else shown.removeprefix("http://")


def _basename(link: str) -> str:
    """The object name that a link gives, empty when its path has none: a host alone names no object."""
    path = link.partition("?")[0].partition("#")[0]
    rest = path.partition("://")[2] if "://" in path else path
    return basename_of_link(path) if rest.partition("/")[2].strip("/") else ""


def named(entry: object) -> Entry:
    """An entry with its object's name, from its link when none is given; raises InvalidRequest."""
    if isinstance(entry, dict):
        link: object = _link_of(entry, "an entry of 'objects'")
        name = entry.get("name", "")
        if not isinstance(name, str):
            raise InvalidRequest(f"an entry of 'objects': 'name' must be a string, found: {type_name(name)}")
    else:
        link, name = entry, ""
    if not isinstance(link, str):
        raise InvalidRequest(f"expected download link to be a string, got: {type_name(link)}")
    name = name or _basename(link)
    if not name:
        raise InvalidRequest(f'failed to extract object name from the download "{redact(link)}"')
    return name, entry


def _link_of(entry: dict[str, object], where: str) -> str:
    unknown = entry.keys() - _ENTRY_FIELDS
    if unknown:
        known = ", ".join(sorted(_ENTRY_FIELDS))
        raise InvalidRequest(f"{where} has an unknown field '{printable(min(unknown), 40)}' (known are {known})")
    link = entry.get("link", entry.get("url"))
    if not isinstance(link, str) or not link or ("link" in entry and "url" in entry):
        raise InvalidRequest(f"{where} must have one 'link' or 'url', a string")
    return link


def collect(entries: Iterable[Entry]) -> TaskList:
    """Check all entries and sort them by name; an entry that is there twice counts once. Raises InvalidRequest."""
    links: dict[str, str] = {}
    expectations: dict[str, Expectation] = {}
    for given_name, given in entries:
        given_link = given
        if isinstance(given, dict):
            where = f'object "{printable(given_name)}"'
            given_link = _link_of(given, where)
        elif not isinstance(given, str):
            raise InvalidRequest(f"values in map should be strings, found: {type_name(given)}")
        assert isinstance(given_link, str)
        name = given_name if _ORDINARY_NAME.match(given_name) else _normalized(given_name)
        link = given_link if _ORDINARY_LINK.match(given_link) else _completed(given_link)
        if links.setdefault(name, link) != link:
            raise _collision(name, links[name], link)
        if isinstance(given, dict):
            _expect(expectations, name, parse_expectation(given, where))
    names = sorted(links)
    return TaskList(names, [links[name] for name in names], expectations)


def _expect(expectations: dict[str, Expectation], name: str, expected: Expectation | None) -> None:
    if expected is not None and expectations.setdefault(name, expected) != expected:
        raise InvalidRequest(f'object "{printable(name)}" is there twice, with different sizes or digests')


def _normalized(name: str) -> str:
    if not is_unicode(name):
        raise InvalidName(f'invalid object name "{printable(name)}": not valid UTF-8')
    return normalize_object_name(name)


def _completed(link: str) -> str:
    if not is_unicode(link):
        raise InvalidRequest(f'link "{redact(link)}" is not valid unicode')
    return complete_link(link)


def _collision(name: str, first: str, second: str) -> InvalidRequest:
    shown = redact(first), redact(second)
    why = " (they differ in what is not shown: user, query or fragment)" if shown[0] == shown[1] else ""
    return InvalidRequest(
        f'two different links have the same object name "{printable(name)}": "{shown[0]}" and "{shown[1]}"{why}'
    )
