"""The API's description as one plain HTML page: no scripts, nothing to load from elsewhere; pure.

What is described is left to `proxy.api.openapi`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

_CODE = re.compile(r"`([^`]+)`")
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
nav li { list-style: none; } nav ul { padding: 0; }
code, pre { font: 14px/1.4 ui-monospace, monospace; background: #f4f4f4; }
pre { padding: .7rem; overflow-x: auto; }
section { border-top: 1px solid #ccc; margin-top: 1.5rem; }
table { border-collapse: collapse; } td { padding: .15rem 1.2rem .15rem 0; vertical-align: top; }
.method { display: inline-block; min-width: 4.5rem; font-weight: bold; }
"""


def page(schema: Mapping[str, Any]) -> str:
    """The whole page for an OpenAPI schema."""
    operations = [
        (method.upper(), path, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    title = escape(schema["info"]["title"])
    index = "".join(f"<li>{_link(*operation)}</li>" for operation in operations)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title} API</title>'
        f"<style>{_STYLE}</style></head><body>\n<h1>{title} API</h1>\n"
        f"<p>{_text(schema['info'].get('description', ''))}</p>\n"
        '<p>The same for machines: <a href="/openapi.json">/openapi.json</a>.</p>\n'
        f"<nav><ul>{index}</ul></nav>\n{''.join(_section(*operation) for operation in operations)}</body></html>\n"
    )


def _link(method: str, path: str, operation: Mapping[str, Any]) -> str:
    summary = escape(operation.get("summary", ""))
    return f'<a href="#{_anchor(method, path)}">{_name(method, path)}</a> {summary}'


def _section(method: str, path: str, operation: Mapping[str, Any]) -> str:
    return (
        f'<section id="{_anchor(method, path)}"><h2>{_name(method, path)}</h2>\n'
        f"<p><strong>{_text(operation.get('summary', ''))}</strong></p>\n"
        f"<p>{_text(operation.get('description', ''))}</p>\n"
        f"{_parameters(operation.get('parameters', ()))}{_examples(operation.get('requestBody', {}))}"
        f"{_answers(operation['responses'])}</section>\n"
    )


def _parameters(parameters: Iterable[Mapping[str, Any]]) -> str:
    rows = [
        (f"<code>{escape(one['name'])}</code>", escape(one["in"]), _text(one.get("description", "")))
        for one in parameters
    ]
    return _table("Parameters", rows)


def _examples(body: Mapping[str, Any]) -> str:
    parts = []
    for media_type, content in body.get("content", {}).items():
        parts.append(f"<h3>Body: {escape(media_type)}</h3>\n")
        for name, example in content.get("examples", {}).items():
            shown = json.dumps(example["value"], indent=2, ensure_ascii=False)
            parts.append(f"<p>{_text(example.get('summary', name))}</p>\n<pre>{escape(shown)}</pre>\n")
    return "".join(parts)


def _answers(answers: Mapping[str, Any]) -> str:
    rows = []
    for status, answer in answers.items():
        headers = ", ".join(f"<code>{escape(name)}</code>" for name in answer.get("headers", ()))
        rows.append((escape("other" if status == "default" else status), _text(answer["description"]), headers))
    return _table("Answers", rows)


def _table(title: str, rows: Iterable[Iterable[str]]) -> str:
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f"<h3>{title}</h3>\n<table>{body}</table>\n" if body else ""


def _text(text: str) -> str:
    """Words with code in backquotes."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _name(method: str, path: str) -> str:
    return f'<span class="method">{escape(method)}</span> <code>{escape(path)}</code>'


def _anchor(method: str, path: str) -> str:
    return escape(f"{method.lower()}{re.sub('[^a-z0-9]+', '-', path)}")
