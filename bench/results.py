"""What a row of the bench gives: samples of every contender, the figures made of them, and which bars are met; pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Series:
    """All samples of one contender, in the order in which they were taken."""

    name: str
    unit: str
    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.samples) if self.samples else float("nan")


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that design.md §10 sets a first bar and a goal for; `bar` and `goal` are None where it sets none."""

    name: str
    value: float
    unit: str
    better: Better
    bar: float | None
    goal: float | None

    @property
    def meets_bar(self) -> bool | None:
        return self._meets(self.bar)

    @property
    def meets_goal(self) -> bool | None:
        return self._meets(self.goal)

    def _meets(self, limit: float | None) -> bool | None:
        if limit is None:
            return None
        return self.value >= limit if self.better == "higher" else self.value <= limit


@dataclass(frozen=True, slots=True)
class RowResult:
    """One measured workload; `problems` are what makes its figures doubtful."""

    key: str
    workload: str
    series: tuple[Series, ...]
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Plain values, with medians and verdicts written out."""
        return {
            "key": self.key,
            "workload": self.workload,
            "series": [
                {"name": s.name, "unit": s.unit, "median": s.median, "samples": list(s.samples)} for s in self.series
            ],
            "figures": [
                {
                    "name": f.name,
                    "value": f.value,
                    "unit": f.unit,
                    "better": f.better,
                    "bar": f.bar,
                    "goal": f.goal,
                    "meets_bar": f.meets_bar,
                    "meets_goal": f.meets_goal,
                }
                for f in self.figures
            ],
            "notes": list(self.notes),
            "problems": list(self.problems),
        }


def ratio(
    ours: Series, theirs: Series, bar: float | None = None, goal: float | None = None, *, name: str = ""
) -> Figure:
    """Our median over theirs, both rates."""
    value = ours.median / theirs.median if theirs.median else float("nan")
    return Figure(name or f"{ours.name} / {theirs.name}", value, "x", "higher", bar, goal)
