"""Bash range templates of `range` jobs: parsed, counted by arithmetic, expanded lazily; pure.

Grammar and error texts: wire.md §1.3. `{start..end[..step]}`, any number of ranges, the last one varies fastest,
numbers are padded with zeros to the shorter of the two spellings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from common.errors import InvalidRequest
from common.links import redact
from common.names import basename_of_link

MAX_NAMES = 10_000_000
_RANGE = re.compile(r"\{([^{}]*)\}")
_ESCAPED_DIGIT = re.compile(r"%3[0-9]")
_MAX_INT = 2**63 - 1


class InvalidTemplate(InvalidRequest):
    """The text is no template that a `range` job can use."""


@dataclass(frozen=True, slots=True)
class Range:
    """One `{start..end..step}`; `width` is the least number of digits."""

    start: int
    end: int
    step: int
    width: int

    @property
    def count(self) -> int:
        return (self.end - self.start) // self.step + 1

    def value(self, position: int) -> str:
        """The spelled number at a position."""
        return str(self.start + position * self.step).zfill(self.width)


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: `literals[i]` stands before `ranges[i]`, the last literal at the end."""

    text: str
    literals: tuple[str, ...]
    ranges: tuple[Range, ...]

    @property
    def count(self) -> int:
        """How many links there are, by arithmetic."""
        return prod(r.count for r in self.ranges)

    def expand(self, begin: int = 0, end: int | None = None) -> Iterator[str]:
        """The links at positions `begin` to `end` (exclusive; all when None), lazily, in order."""
        stop = self.count if end is None else min(end, self.count)
        inner, after = self.ranges[-1], self.literals[-1]
        while begin < stop:
            row, column = divmod(begin, inner.count)
            prefix = self._row_prefix(row)
            column_end = min(inner.count, column + stop - begin)
            first = inner.start + column * inner.step
            for number in range(first, inner.start + column_end * inner.step, inner.step):
                yield prefix + str(number).zfill(inner.width) + after
            begin += column_end - column

    def _row_prefix(self, row: int) -> str:
        """Everything before the innermost range's number, for one combination of the outer ranges."""
        parts = [self.literals[-2]]
        for literal, outer in zip(reversed(self.literals[:-2]), reversed(self.ranges[:-1]), strict=True):
            row, position = divmod(row, outer.count)
            parts += (outer.value(position), literal)
        return "".join(reversed(parts))


def parse_template(text: str) -> Template:
    """Parse and check everything that can be checked without expanding.

    Raises InvalidTemplate: no range, unbalanced braces, numbers that are none, start after end, a step below one,
    more than MAX_NAMES links.
    """
    literals: list[str] = []
    ranges: list[Range] = []
    position = 0
    for match in _RANGE.finditer(text):
        literals.append(text[position : match.start()])
        ranges.append(_parse_range(match[1], text))
        position = match.end()
    literals.append(text[position:])
    if not ranges or any("{" in literal or "}" in literal for literal in literals):
        raise InvalidTemplate("not a 'bash' template")
    if any(_ESCAPED_DIGIT.search(literal) for literal in literals[1:-1]):
        raise _invalid(text, ": a digit between ranges is percent-encoded")
    template = Template(text, tuple(literals), tuple(ranges))
    if template.count > _MAX_INT:
        raise InvalidTemplate("combined ranges are too large to expand")
    if template.count > MAX_NAMES:
        raise InvalidTemplate(f"parsed-template: too many values (more than {MAX_NAMES} max)")
    return template


def _parse_range(inside: str, text: str) -> Range:
    parts = inside.split("..")
    if len(parts) not in (2, 3):
        raise _invalid(text, " (expecting e.g. 'prefix-{0001..0010..1}-suffix')")
    start, end, step = (_parse_number(part, text) for part in (*parts, "1")[:3])
    if start > end:
        raise _invalid(text, ": 'start' cannot be greater than 'end'")
    if start < 0:
        raise _invalid(text, ": 'start' is negative")
    if step <= 0:
        raise _invalid(text, ": 'step' is non-positive")
    parsed = Range(start, end, step, min(len(parts[0]), len(parts[1])))
    if parsed.count > _MAX_INT:
        raise InvalidTemplate(f"range [{start}..{end}..{step}] is too large to expand")
    return parsed


def _parse_number(part: str, text: str) -> int:
    shown = part if part in redact(text, limit=len(text)) else "…"
    if not re.fullmatch(r"[+-]?[0-9]+", part):
        raise InvalidTemplate(f'strconv.ParseInt: parsing "{shown}": invalid syntax')
    if len(part) > 20 or abs(int(part)) > _MAX_INT:
        raise InvalidTemplate(f'strconv.ParseInt: parsing "{shown}": value out of range')
    return int(part)


def _invalid(text: str, why: str) -> InvalidTemplate:
    return InvalidTemplate(f"invalid 'bash' template \"{redact(text)}\"{why}")


def first_collision(template: Template) -> tuple[str, str] | None:
    """Two different links of the template that would give the same object name, or None.

    The name is what follows the last slash of the path, so a range before that slash (or behind a `?` or `#`) does not
    show in it. Found by arithmetic: the two links differ in one number of such a range.
    """
    for index, varying in enumerate(template.ranges, start=1):
        after = "0".join(template.literals[index:])
        hidden = not {"?", "#"}.isdisjoint("".join(template.literals[:index]))
        before_name = "/" in after.partition("?")[0].partition("#")[0].rstrip("/")
        if varying.count > 1 and (hidden or before_name):
            inner = prod(r.count for r in template.ranges[index:])
            first, second = next(template.expand(0)), next(template.expand(inner))
            return first, second
    return None


def name_of(link: str) -> str:
    """The object name that a template's link gives before normalisation."""
    return basename_of_link(link)
