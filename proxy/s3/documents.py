"""S3's XML: documents that clients send are read with all that could harm refused, those for them are written; pure.

Which elements mean what is left to who reads and writes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

from common.names import printable
from proxy.s3.errors import S3Error

NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
DECLARATION: Final = b'<?xml version="1.0" encoding="UTF-8"?>\n'
_MAX_DEPTH: Final = 16
_MAX_ELEMENTS: Final = 100_000
"""Enough for 10,000 parts with all that is said of them; each takes some hundred bytes of memory."""
_ESCAPED: Final = re.compile('[&<>"\x00-\x1f\x7f-\x9f\ufffe\uffff]')


@dataclass(slots=True)
class Element:
    """One element of a document that was read: its name without a namespace, text, and what is in it."""

    name: str
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, name: str) -> Iterator[Element]:
        """The children of that name."""
        return (child for child in self.children if child.name == name)

    def first(self, name: str) -> str:
        """The text of the first child of that name, empty without one."""
        return next((child.text for child in self.all(name)), "")


def read(body: bytes, root: str) -> Element:
    """The document, whose outermost element must be `root`; raises S3Error MalformedXML.

    A document type, and with it every entity, is refused: it could grow without end, or fetch something.
    """
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    open_elements = [Element("")]
    open_texts: list[list[str]] = [[]]  # joined at the end: a text may come in as many pieces as it has letters
    elements = 0

    def on_start(name: str, _: dict[str, str]) -> None:
        if len(open_elements) > _MAX_DEPTH:
            raise _malformed(f"elements are nested deeper than {_MAX_DEPTH}")
        nonlocal elements
        elements += 1
        if elements > _MAX_ELEMENTS:
            raise _malformed(f"it has more than {_MAX_ELEMENTS} elements")
        element = Element(name.rpartition("}")[2])
        open_elements[-1].children.append(element)
        open_elements.append(element)
        open_texts.append([])

    def on_end(_: str) -> None:
        open_elements.pop().text = "".join(open_texts.pop())

    def on_text(text: str) -> None:
        open_texts[-1].append(text)

    def on_doctype(*_: object) -> None:
        raise _malformed("a document type is not accepted")

    parser.StartElementHandler = on_start
    parser.EndElementHandler = on_end
    parser.CharacterDataHandler = on_text
    parser.StartDoctypeDeclHandler = on_doctype
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        raise _malformed(str(error)) from None
    except (LookupError, ValueError) as error:  # an encoding that Python does not know, or cannot use here
        raise _malformed(f"its encoding cannot be read: {error}") from None
    found = open_elements[0].children[0]
    if found.name != root:
        raise _malformed(f"expecting <{root}>, found <{printable(found.name, 64)}>")
    return found


def _malformed(reason: str) -> S3Error:
    return S3Error("MalformedXML", f"the XML of the request is not accepted: {reason}")


def escape(text: str) -> str:
    """Text as an element's content; control characters as S3 writes them, which XML 1.0 has no way for."""
    return _ESCAPED.sub(_reference, text)


def _reference(match: re.Match[str]) -> str:
    character = match.group()
    return {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}.get(character) or f"&#x{ord(character):x};"


Content = str | int | bool | list["Node"]
Node = tuple[str, Content]
"""An element to be written: its name (attributes may follow it), and its text or its children."""


def element(name: str, content: Content) -> str:
    """One element as text."""
    if isinstance(content, list):
        inside = "".join([element(*child) for child in content])
    elif isinstance(content, bool):
        inside = "true" if content else "false"
    else:
        inside = escape(str(content))
    return f"<{name}>{inside}</{name.partition(' ')[0]}>" if inside else f"<{name}/>"


def write(root: str, content: Content) -> bytes:
    """A document in S3's namespace."""
    inside = "".join([element(*child) for child in content]) if isinstance(content, list) else escape(str(content))
    return DECLARATION + f'<{root} xmlns="{NAMESPACE}">{inside}</{root}>'.encode(errors="replace")


def write_error(error: S3Error, resource: str, request_id: str) -> bytes:
    """The document of an error; it has no namespace."""
    content: list[Node] = [
        ("Code", error.code),
        ("Message", error.message),
        *error.details,
        ("Resource", resource),
        ("RequestId", request_id),
    ]
    return DECLARATION + element("Error", content).encode(errors="replace")
