"""Environments of AIStore's SDK, one for each version, for versions exclude each other and PyTorch is large.

    python -m tests.sdk.environments        # makes those that are missing, in `.sdk` of the repository

Each is made once, with what PyPI has, and used from then on without asking anybody.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2] / ".sdk"
_DEBIAN_PYTHON = "/usr/bin/python3"
_RUNNER = ("pytest>=8.3", "pytest-timeout>=2.3")


@dataclass(frozen=True)
class Environment:
    """A Python with one version of the SDK, and the folders of `programs` that are for it."""

    name: str
    requirements: tuple[str, ...]
    programs: tuple[str, ...]
    only: tuple[str, ...] = ()
    """The files to run, where not all of them are."""
    base_python: str = sys.executable
    sees_system_packages: bool = False

    @property
    def python(self) -> Path:
        return ROOT / self.name / "bin" / "python"

    def make(self) -> None:
        """Make it unless it is there as it should be; whoever else makes it is waited for."""
        ROOT.mkdir(exist_ok=True)
        folder, made = ROOT / self.name, ROOT / f"{self.name}.made"
        wanted = "\n".join((self.base_python, *self.requirements, *_RUNNER))
        with (ROOT / f"{self.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if made.exists() and made.read_text() == wanted:
                return
            made.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            options = ["--system-site-packages"] if self.sees_system_packages else []
            _run(self.base_python, "-m", "venv", *options, str(folder))
            pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
            _run(str(self.python), *pip, *self.requirements, *_RUNNER)
            made.write_text(wanted)


def _run(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"


ENVIRONMENTS = (
    Environment("2.0.0", ("aistore==2.0.0",), ("any", "since_1_26", "version_2")),
    Environment("1.26.0", ("aistore==1.26.0",), ("any", "since_1_26", "version_1")),
    # That of AIStore's own tree: it waits for jobs, and reads with many workers, in other ways, and does not know the
    # newest xxhash.
    Environment(
        "1.25.0",
        ("aistore==1.25.0", "xxhash<4"),
        ("any", "version_1"),
        only=("test_cluster", "test_head", "test_jobs", "test_objects"),
    ),
    # PyPI has PyTorch only with gigabytes of CUDA; Debian's is built for processors, and for Debian's own Python.
    Environment(
        "2.0.0-torch",
        ("aistore==2.0.0", "alive-progress>=3.1.0", "webdataset>=0.2.100", "numpy<2"),
        ("with_pytorch",),
        base_python=_DEBIAN_PYTHON,
        sees_system_packages=True,
    ),
)


if __name__ == "__main__":
    for environment in ENVIRONMENTS:
        environment.make()
