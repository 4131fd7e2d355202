"""The SDK's block of docs/clients.md, as it stands there, in the SDK's own environment."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.sdk.environments import ENVIRONMENTS

TEXT = (Path(__file__).parents[2] / "docs/clients.md").read_text(encoding="utf-8")


@pytest.mark.timeout(600)  # the environment may have to be made
def test_the_block_of_the_page(tmp_path: Path) -> None:
    environment = ENVIRONMENTS[0]
    environment.make()
    (block,) = (block for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "from aistore" in block)
    with Cluster(tmp_path) as cluster:
        done = subprocess.run(
            [str(environment.python), "-c", block.replace("http://localhost:8080", cluster.urls["p1"])],
            env={**os.environ, "PYTHONPATH": ""},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert done.stdout == "b'one'\n", done.stderr
