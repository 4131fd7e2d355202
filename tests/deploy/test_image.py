"""What the image installs; building it is left to `make test-compose`."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_image_has_every_dependency_and_the_libraries_of_all_sources() -> None:
    script = [sys.executable, str(ROOT / "deploy/docker/requirements.py"), str(ROOT / "pyproject.toml")]
    listed = subprocess.run(script, check=True, capture_output=True, text=True).stdout.splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    sources = [requirement for extra in ("azure", "gcs", "hf", "s3") for requirement in extras[extra]]
    assert listed == [*project["dependencies"], *sources]
    assert not [requirement for requirement in listed if requirement.startswith("haul")]


def test_the_build_and_the_wheels_for_it_take_the_same_list() -> None:
    for file in ("Dockerfile", "deploy/docker/wheels.py"):
        assert "requirements.py" in (ROOT / file).read_text(encoding="utf-8")
