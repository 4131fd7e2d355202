"""What may stand for the last word of a command line: commands, options, their values, names in the cluster; pure.

What a parameter takes is told by its metavar, as in the help. Asking the cluster is left to the `Names` given, what a
shell does with the candidates to `cli.completion`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from cli import suggestions
from common.names import printable

Candidate = tuple[str, str]
"""A value, and what it is in a few words."""
_CHOICE = re.compile(r"[a-z0-9-]+(\|[a-z0-9-]+)+\Z")
_SPECIAL = re.compile(r"([\s\\'\"$`&|;<>()*?\[\]{}!#~])")
_WORDS = re.compile(r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"?|'[^']*'?|\\\Z)+""", re.DOTALL)
_TOKENS = re.compile(r"""\\(.)|"((?:[^"\\]|\\.)*)"?|'([^']*)'?""", re.DOTALL)


class Names(Protocol):
    """Names in the cluster that begin with a text; none when it does not answer soon."""

    def buckets(self, begin: str, endpoint: str | None) -> Iterable[Candidate]: ...

    def objects(self, begin: str, endpoint: str | None) -> Iterable[Candidate]: ...

    def jobs(self, begin: str, endpoint: str | None) -> Iterable[Candidate]: ...

    def nodes(self, begin: str, endpoint: str | None) -> Iterable[Candidate]: ...


def of(root: Any, words: Sequence[str], names: Names) -> list[Candidate]:
    """The candidates for the last of the words behind `haul`, in the tree of commands below `root`."""
    *before, last = words
    command, rest = root, list(before)
    while rest and (inside := getattr(command, "commands", None)):
        if rest[0].startswith("-"):
            rest = rest[1:]
        elif rest[0] in inside:
            command, rest = inside[rest[0]], rest[1:]
        else:
            return []
    if last.startswith("-"):
        return _values_of_option(command, last, names, rest) if "=" in last else list(_options(command, last))
    if inside := getattr(command, "commands", None):
        return [
            (name, below.get_short_help_str(60))
            for name, below in inside.items()
            if name.startswith(last) and not below.hidden
        ]
    waiting = _option_of(command, rest[-1]) if rest else None
    parameter = waiting if waiting is not None and _takes_value(waiting) else _argument(command, rest)
    return list(_values(parameter, last, names, _endpoint(command, rest))) if parameter is not None else []


def _options(command: Any, begin: str) -> Iterator[Candidate]:
    for parameter in command.params:
        if parameter.param_type_name == "option":
            for spelling in (*parameter.opts, *parameter.secondary_opts):
                if spelling.startswith(begin) and (
                    begin.startswith("--") or not spelling.startswith("--") or begin == "-"
                ):
                    yield spelling, _first_sentence(parameter.help or "")
    if "--help".startswith(begin):
        yield "--help", "Show this message and exit."


def _values_of_option(command: Any, word: str, names: Names, before: Sequence[str]) -> list[Candidate]:
    spelling, _, begin = word.partition("=")
    parameter = _option_of(command, spelling)
    if parameter is None or not _takes_value(parameter):
        return []
    found = _values(parameter, begin, names, _endpoint(command, before))
    return [(f"{spelling}={value}", text) for value, text in found]


def _option_of(command: Any, spelling: str) -> Any:
    for parameter in command.params:
        if parameter.param_type_name == "option" and spelling in parameter.opts:
            return parameter
    return None


def _takes_value(parameter: Any) -> bool:
    return not parameter.is_flag and not parameter.count


def _argument(command: Any, before: Sequence[str]) -> Any:
    """The argument whose turn it is behind these words; the last one when it may be repeated."""
    given, skip = 0, False
    for word in before:
        if skip:
            skip = False
        elif word.startswith("-") and len(word) > 1:
            option = _option_of(command, word)
            skip = option is not None and _takes_value(option)
        else:
            given += 1
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    for position, argument in enumerate(arguments):
        if position == given or argument.nargs == -1:
            return argument
    return None


def _endpoint(command: Any, before: Sequence[str]) -> str | None:
    for at, word in enumerate(before):
        if word.startswith("--endpoint="):
            return word.partition("=")[2]
        if word == "--endpoint" and at + 1 < len(before):
            return before[at + 1]
    return None


def _values(parameter: Any, begin: str, names: Names, endpoint: str | None) -> Iterator[Candidate]:
    """Values of a parameter by its metavar; nothing for files, which shells know better."""
    metavar = parameter.metavar or ""
    if _CHOICE.match(metavar):
        yield from ((choice, "") for choice in metavar.split("|") if choice.startswith(begin))
    elif "NODE" in metavar or "TARGET" in metavar:
        yield from names.nodes(begin, endpoint)
    elif re.search(r"\b(ID|JOB)\b", metavar):
        yield from names.jobs(begin, endpoint)
    elif metavar == "DESTINATION":
        yield from _locations(begin, names, endpoint, with_objects=True)
    elif "://BUCKET" in metavar:
        if "FILE" in metavar and "://" not in begin and not "ais://".startswith(begin or "ais"):
            return
        yield from _locations(begin, names, endpoint, with_objects="/" in metavar.partition("://")[2])


def _locations(begin: str, names: Names, endpoint: str | None, *, with_objects: bool) -> Iterator[Candidate]:
    _, colon, rest = begin.partition("://")
    if not colon:
        found = list(names.buckets("", endpoint))
        known = {value.partition("://")[0] for value, _ in found} or {"ais"}
        likely = [name for name in suggestions.SCHEMES if name in known and f"{name}://".startswith(begin)]
        if len(likely) == 1:
            yield from ((value, text) for value, text in found if value.startswith(begin))
        else:
            yield from ((f"{name}://", "") for name in likely)
        return
    bucket = rest.lstrip("@#") if not rest.startswith(("@", "#")) else rest.partition("/")[2]
    if "/" not in bucket:
        for value, text in names.buckets(begin, endpoint):
            yield value + ("/" if with_objects else ""), text
    elif with_objects:
        yield from names.objects(begin, endpoint)


def split(line: str) -> list[str]:
    """The words of a line as a shell reads them, quotes taken away; the last one is empty behind a space.

    What is not closed at the end is taken as it is.
    """
    words = [_unquoted(word) for word in _WORDS.findall(line)]
    return words if words and not line[-1:].isspace() else [*words, ""]


def _unquoted(word: str) -> str:
    def plain(match: re.Match[str]) -> str:
        escaped, double, single = match.groups()
        if double is not None:
            return re.sub(r"\\([\\\"$`])", r"\1", double)
        return escaped if escaped is not None else single

    return _TOKENS.sub(plain, word)


def quoted(value: str) -> str:
    """The value as one word of a shell; what cannot be shown in one line is left to the user."""
    return _SPECIAL.sub(r"\\\1", printable(value, len(value) + 1))


def broken_at(word: str, breaks: str) -> int:
    """How much of a word bash keeps before what it replaces: it breaks words at colons and equal signs."""
    return max((word.rfind(character) + 1 for character in ":=" if character in breaks), default=0)


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.;:])\s", text, maxsplit=1)[0].rstrip(".;:")
