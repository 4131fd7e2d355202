"""What tests of `/metrics` share: a scrape as a dictionary, and what the documentation promises."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import httpx
from prometheus_client.parser import text_string_to_metric_families

DOCUMENT = Path(__file__).parents[2] / "docs/metrics.md"
Sample = tuple[str, frozenset[tuple[str, str]]]


class Family(NamedTuple):
    """One row of the documentation, or one family of a scrape."""

    name: str
    kind: str
    labels: frozenset[str]
    text: str


class Scrape:
    """The answer of one node, read by Prometheus's own parser."""

    def __init__(self, url: str) -> None:
        answer = httpx.get(f"{url}/metrics", timeout=10)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        self.text = answer.text
        self._families = list(text_string_to_metric_families(self.text))
        samples = [(sample, family) for family in self._families for sample in family.samples]
        self.samples: dict[Sample, float] = {(one.name, frozenset(one.labels.items())): one.value for one, _ in samples}
        assert len(self.samples) == len(samples), "a figure is there twice"

    def value(self, name: str, **labels: str) -> float:
        return self.samples[name, frozenset(labels.items())]

    def families(self) -> set[Family]:
        """Haul's own; those without a sample have no labels."""
        return {
            Family(
                family.name + ("_total" if family.type == "counter" else ""),
                family.type,
                frozenset(label for sample in family.samples for label in sample.labels),
                family.documentation,
            )
            for family in self._families
            if family.name.startswith("haul_")
        }


def documented(*titles: str) -> set[Family]:
    """The rows below these titles of docs/metrics.md."""
    sections = re.split(r"^## ", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    wanted = [section for section in sections if section.partition("\n")[0] in titles]
    assert len(wanted) == len(titles)
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) ?\| (.+) \|$", "".join(wanted), re.MULTILINE)
    return {Family(name, kind, frozenset(re.findall(r"`(\w+)`", labels)), text) for name, kind, labels, text in rows}
