#!/usr/bin/env python3
"""`wheels.py DIRECTORY VERSION`: fetch the wheels that the image needs, for that version of Python, with this pip.

What is there already and fits is kept. Needs Python 3.11 with pip, and what pip is set up to use.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

_PLATFORMS = (
    "manylinux_2_28_{0}",
    "manylinux_2_17_{0}",
    "manylinux2014_{0}",
    "manylinux_2_12_{0}",
    "manylinux2010_{0}",
)


def main() -> int:
    """Run pip and pass its exit code on."""
    directory, version = Path(sys.argv[1]), sys.argv[2]
    root = Path(__file__).resolve().parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    machine = subprocess.run(["uname", "-m"], check=True, capture_output=True, text=True).stdout.strip()
    wanted = directory / "wanted"
    listing = [sys.executable, str(Path(__file__).with_name("requirements.py")), str(root / "pyproject.toml")]
    wanted_by_image = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split("\n")[:-1]
    needs = "\n".join([version, machine, *project["build-system"]["requires"], *wanted_by_image])
    if wanted.is_file() and wanted.read_text(encoding="utf-8") == needs:
        return 0
    for old in directory.glob("*.whl"):
        old.unlink()
    platforms = [f"--platform={platform.format(machine)}" for platform in _PLATFORMS]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", f"--dest={directory}"]
    done = subprocess.run([*command, f"--python-version={version}", *platforms, *needs.split("\n")[2:]], check=False)
    if done.returncode == 0:
        wanted.write_text(needs, encoding="utf-8")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
