"""Turns measured rows into what people read: lines on the terminal, a JSON file and docs/benchmarks.md."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
"""A RowResult in its JSON form, so that rows of an earlier run can be shown beside new ones."""


def number(value: float) -> str:
    """Three significant digits, thousands separated."""
    if math.isnan(value):
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def limit(figure: Mapping[str, Any], key: str) -> str:
    """A bar or a goal with its verdict."""
    if figure[key] is None:
        return "-"
    sign = "≥" if figure["better"] == "higher" else "≤"
    return f"{sign} {figure[key]:g} {figure['unit']}: {'met' if figure[f'meets_{key}'] else '**not met**'}"


def terminal_lines(row: Row) -> list[str]:
    """One row for people who wait for it."""
    lines = [f"{row['key']}: {row['workload']}"]
    lines += [f"  {s['name']:<40} {number(s['median']):>10} {s['unit']}" for s in row["series"]]
    for figure in row["figures"]:
        verdicts = "".join(
            f"   {word} {limit(figure, key).replace('*', '')}"
            for key, word in (("bar", "first bar"), ("goal", "goal"))
            if figure[key] is not None
        )
        lines.append(f"  => {figure['name']:<37} {number(figure['value']):>10} {figure['unit']}{verdicts}")
    lines += [f"  note: {note}" for note in row["notes"]]
    lines += [f"  DOUBTFUL: {problem}" for problem in row["problems"]]
    return lines


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """The whole run, every sample."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def load_rows(path: Path) -> list[Row]:
    """The rows of an earlier run; none when there is no such file or it cannot be read."""
    try:
        rows: list[Row] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return rows


def markdown(document: Mapping[str, Any]) -> str:
    """The page docs/benchmarks.md."""
    parts = [_HEAD.format(date=document["date"], runs=document["runs"])]
    if document["busy"]:
        parts.append("**The machine was busy with other work during this run: take the figures as a rough sketch.**\n")
    parts += [_figures_table(document["rows"]), _machine_table(document["machine"]), "## Every contender\n"]
    parts += [_row_section(row) for row in document["rows"]]
    if document["failures"]:
        parts.append("## Not measured\n")
        parts += [f"- `{key}`: {why}\n" for key, why in document["failures"].items()]
    return "\n".join(parts).rstrip() + "\n"


_HEAD = """\
# Benchmarks

Written by `make bench` on {date}; do not edit. Each workload runs Haul beside what a user would otherwise run, in the
same run, in turn, {runs} times, on fresh directories and a freshly started cluster; figures are medians. Haul runs with
its default `durability = "power-loss"` unless a line says otherwise, and is measured from the POST of the job to the
job's `finished_time`, with hashing, metadata, journal and commit of every object included; curl and aria2c from the
start of their process to its exit. Everything, the web server included, shares the machine's cores. On tmpfs syncing
costs next to nothing; the row `disk` shows what it costs on a disk.
"""


def _figures_table(rows: Sequence[Row]) -> str:
    lines = ["## Bars and goals\n", "| workload | figure | measured | first bar | goal |", "|---|---|---|---|---|"]
    for row in rows:
        doubt = " (doubtful, see below)" if row["problems"] else ""
        for figure in row["figures"]:
            if figure["bar"] is not None or figure["goal"] is not None:
                measured = f"{number(figure['value'])} {figure['unit']}{doubt}"
                limits = f"{limit(figure, 'bar')} | {limit(figure, 'goal')}"
                lines.append(f"| {row['workload']} | {figure['name']} | {measured} | {limits} |")
    return "\n".join(lines) + "\n"


def _machine_table(machine: Mapping[str, str]) -> str:
    lines = ["## Machine\n", "| what | |", "|---|---|"]
    return "\n".join(lines + [f"| {key} | {value} |" for key, value in machine.items()]) + "\n"


def _row_section(row: Row) -> str:
    lines = [
        f"### {row['key']}: {row['workload']}\n",
        "| contender | median | least | most | samples |",
        "|---|---|---|---|---|",
    ]
    for series in row["series"]:
        samples = series["samples"]
        cells = (f"{number(value)} {series['unit']}" for value in (series["median"], min(samples), max(samples)))
        lines.append(f"| {series['name']} | {' | '.join(cells)} | {len(samples)} |")
    extra = [f"{f['name']}: {number(f['value'])} {f['unit']}" for f in row["figures"] if f["bar"] is None]
    lines.append("")
    lines += [f"- {text}" for text in (*extra, *row["notes"])]
    lines += [f"- **Doubtful:** {problem}" for problem in row["problems"]]
    lines.append(f"- measured {row['measured']}, commit {row['commit']}")
    return "\n".join(lines) + "\n"
