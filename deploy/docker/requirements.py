#!/usr/bin/env python3
"""`requirements.py PYPROJECT`: print what the image installs besides haul, one a line: with all sources of objects.

Needs Python 3.11 and nothing else.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_EXTRA = "sources"


def requirements(project: dict[str, Any]) -> Iterator[str]:
    """The dependencies, and those of the extra; what it takes from others (`haul[s3]`) is written out."""
    yield from project["dependencies"]
    yield from _of_extra(project, _EXTRA)


def _of_extra(project: dict[str, Any], extra: str) -> Iterator[str]:
    own = re.compile(rf"{re.escape(project['name'])}\[([\w,\s-]+)\]\Z")
    for requirement in project["optional-dependencies"][extra]:
        others = own.match(requirement)
        if others is None:
            yield requirement
        else:
            for other in others[1].split(","):
                yield from _of_extra(project, other.strip())


if __name__ == "__main__":
    listed = requirements(tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["project"])
    sys.stdout.writelines(f"{requirement}\n" for requirement in listed)
