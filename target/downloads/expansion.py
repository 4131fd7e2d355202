"""Which objects of a range job are this target's: the template expanded piece by piece, placed by vectorised HRW; pure.

When targets were lost, what was theirs was placed again, over other targets; so a task's owner is found by going
through all assignments of the job in their order. Lists of names arrive sharded already (`common.shares`); only
templates are expanded here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from common import bulkplacement
from common.names import basename_of_link, join_subdir, normalize_object_name
from common.shares import JobSpec, Planned, TaskSpec
from common.template import Template, parse_template


class Expansion:
    """The names and links of a range job, by position in the whole job."""

    def __init__(self, spec: JobSpec, target_id: str) -> None:
        self._links = parse_template(spec.template)
        self._subdir = spec.subdir
        self._names = _names_template(self._links, spec.subdir)
        self._prefix = spec.bucket.uname
        self._owners = _Owners(spec.plans)
        self._own = [node for node, _ in spec.targets].index(target_id)
        self.count = self._links.count

    def own_tasks(self, begin: int, end: int) -> list[TaskSpec]:
        """The tasks between two positions that this target owns; raises InvalidName for a name that cannot be used."""
        names = self.names(begin, end)
        owners = self._owners.in_latest(bulkplacement.digests(self._prefix, names))
        own = np.flatnonzero(owners == self._own).tolist()
        if not own:
            return []
        links = list(self._links.expand(begin, end))
        return [TaskSpec(begin + offset, names[offset], links[offset]) for offset in own]

    def names(self, begin: int, end: int) -> list[str]:
        """Object names by position."""
        if self._names is not None:
            return list(self._names.expand(begin, end))
        return [
            normalize_object_name(join_subdir(self._subdir, basename_of_link(link)))
            for link in self._links.expand(begin, end)
        ]


class _Owners:
    """Whose tasks are whose after several assignments."""

    def __init__(self, plans: Sequence[Planned]) -> None:
        numbers: dict[str, int] = {}
        for _, targets in plans:
            for node, _ in targets:
                numbers.setdefault(node, len(numbers))
        self._plans = [
            (
                np.array([numbers[node] for node in lost if node in numbers], dtype=np.intp),
                np.array([numbers[node] for node, _ in targets], dtype=np.intp),
                [digest for _, digest in targets],
            )
            for lost, targets in plans
        ]

    def in_latest(self, digests: bulkplacement.Digests) -> NDArray[np.intp]:
        """For every object the index of its owner in the latest assignment; -1 for what that gave to nobody."""
        _, nodes, candidates = self._plans[0]
        latest = bulkplacement.owners(digests, candidates)
        owners = nodes[latest]
        for lost, nodes, candidates in self._plans[1:]:
            moved = np.isin(owners, lost)
            latest = np.full(len(digests), -1, dtype=np.intp)
            latest[moved] = bulkplacement.owners(digests[moved], candidates)
            owners[moved] = nodes[latest[moved]]
        return latest


def _names_template(links: Template, subdir: str) -> Template | None:
    """A template that expands to the names directly, where every name is the plain last component of its link.

    None when escapes, queries, schemes or a range before the last slash make the general way necessary.
    """
    directory, _, basename = links.text.rpartition("/")
    unusual = any(mark in links.text for mark in "%?#") or any(mark in subdir for mark in "%?#:{}")
    if unusual or subdir.startswith("//") or "{" in directory or "{" not in basename:
        return None
    names = parse_template(join_subdir(subdir, basename))
    normalize_object_name(next(names.expand(0, 1)))
    return names
