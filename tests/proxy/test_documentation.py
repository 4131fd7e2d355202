"""The description of the API: complete, and readable on a machine that has no internet."""

from __future__ import annotations

import asyncio
import re
from html import unescape
from pathlib import Path

from proxy.api.docspage import page
from tests.proxy.harness import cluster

METHODS = {
    "/v1/download": {"get", "post"},
    "/v1/buckets": {"get"},
    "/v1/buckets/{bucket}": {"get", "post", "delete", "head", "patch"},
    "/v1/objects/{bucket}/{name}": {"get", "head", "put", "post", "patch", "delete"},
    "/v1/ml/moss/{bucket}": {"get", "post"},
}


def test_every_resource_is_described(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path, targets=0) as running:
            schema = (await running.request("GET", "/openapi.json")).json()
            for path, methods in METHODS.items():
                assert set(schema["paths"][path]) == methods
            objects = schema["paths"]["/v1/objects/{bucket}/{name}"]
            assert list(objects["get"]["responses"]) == [
                *("200", "206", "301", "304", "400", "404", "416", "503", "default")
            ]
            assert all("307" in objects[method]["responses"] for method in ("head", "put", "delete"))
            assert "Ais-Checksum-Value" in objects["get"]["responses"]["200"]["headers"]
            assert {"bucket", "name", "provider", "namespace", "Range"} <= {
                parameter["name"] for parameter in objects["get"]["parameters"]
            }
            for operations in schema["paths"].values():
                for operation in operations.values():
                    assert operation["summary"]
                    assert operation["description"]
                    assert "422" not in operation["responses"]

    asyncio.run(check())


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path, targets=0) as running:
            answer = await running.request("GET", "/docs")
            assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
            text = answer.text
            assert "<script" not in text
            assert "<link" not in text
            references = re.findall(r'(?:href|src)="([^"]*)"', text)
            assert {reference for reference in references if not reference.startswith("#")} == {"/openapi.json"}
            anchors = re.findall(r'id="([^"]*)"', text)
            assert [f"#{anchor}" for anchor in anchors] == [one for one in references if one.startswith("#")]
            for path, methods in METHODS.items():
                for method in methods:
                    assert f'<span class="method">{method.upper()}</span> <code>{path}</code>' in text
            assert '"template": "http://example.com/shard-{000000..000999}.tar"' in unescape(text)

    asyncio.run(check())


def test_nothing_in_the_schema_is_taken_for_html() -> None:
    evil = "<b>&\"'"
    operation = {
        "summary": evil,
        "description": f"{evil} `{evil}`",
        "parameters": [{"name": evil, "in": evil, "description": evil}],
        "requestBody": {"content": {evil: {"examples": {evil: {"value": {evil: evil}}}}}},
        "responses": {evil: {"description": evil, "headers": {evil: {}}}},
    }
    shown = page({"info": {"title": evil, "description": evil}, "paths": {f"/{evil}": {"get": operation}}})
    assert "<b>" not in shown
    assert shown.count("&lt;b&gt;") >= 12
