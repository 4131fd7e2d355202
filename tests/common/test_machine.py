"""Memory and processors by `/proc` and control groups, from files that a test writes and from this machine's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.growth import Growth
from common.machine import Machine, deployment

GIB = 1 << 30


class Fake:
    """A machine of 8 GiB, of which 6 are available, and this process in it."""

    def __init__(self, root: Path) -> None:
        self.proc, self.cgroups = root / "proc", root / "cgroup"
        self.own = self.proc / str(os.getpid())
        self.write(
            "proc/meminfo", "MemTotal: 8388608 kB\nMemFree: 4194304 kB\nMemAvailable: 6291456 kB\nCached: 8 kB\n"
        )
        self.busy(0)
        self.process(os.getpid(), resident_pages=100)
        self.write("proc/self/cgroup", "0::/\n")

    def write(self, path: str, text: str) -> None:
        file = self.proc.parent / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def busy(self, ticks: int) -> None:
        self.write("proc/stat", f"cpu {ticks} 0 0 1000 500 0 0 0\ncpu0 {ticks} 0 0 1000 500 0 0 0\n")

    def process(self, pid: int, *, resident_pages: int, children: str = "") -> None:
        self.write(f"proc/{pid}/statm", f"1000 {resident_pages} 10 0 0 0 0\n")
        fields = ["S", *["0"] * 10, "30", "20", *["0"] * 30]
        self.write(f"proc/{pid}/stat", f"{pid} (a name) with blanks) {' '.join(fields)}\n")
        self.write(f"proc/{pid}/task/{pid}/children", children)

    def machine(self) -> Machine:
        return Machine(self.proc, self.cgroups)


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


def test_memory_of_the_machine(fake: Fake) -> None:
    found = fake.machine().memory_and_processors()
    page = os.sysconf("SC_PAGE_SIZE")
    assert found["mem_used"] == 100 * page
    assert found["mem_avail"] == 6 * GIB
    assert found["pct_mem_used"] == pytest.approx(100 * 100 * page / (8 * GIB))
    assert (found["mem"]["Total"], found["mem"]["Used"], found["mem"]["ActualUsed"]) == (8 * GIB, 4 * GIB, 2 * GIB)
    assert found["proc"]["Mem"] == {"Size": 1000 * page, "Resident": 100 * page, "Share": 10 * page}
    assert found["proc"]["CPU"]["Total"] == 50 * 1000 // os.sysconf("SC_CLK_TCK")


def test_a_node_is_all_its_processes(fake: Fake) -> None:
    fake.process(os.getpid(), resident_pages=100, children="11111111 ")
    fake.process(11111111, resident_pages=20, children="22222222 33333333")
    fake.process(22222222, resident_pages=3)
    found = fake.machine().memory_and_processors()
    assert found["mem_used"] == 123 * os.sysconf("SC_PAGE_SIZE"), "of a child that has ended nothing is known"


def test_a_control_group_limits_memory(fake: Fake) -> None:
    fake.write("proc/self/cgroup", "0::/outer/inner\n")
    fake.write("cgroup/outer/memory.max", str(2 * GIB))
    fake.write("cgroup/outer/memory.current", str(GIB))
    fake.write("cgroup/outer/memory.stat", f"anon 5\ninactive_file {GIB // 2}\n")
    fake.write("cgroup/outer/inner/memory.max", "max\n")
    found = fake.machine().memory_and_processors()["mem"]
    assert (found["Total"], found["Free"], found["ActualFree"]) == (2 * GIB, GIB, GIB + GIB // 2)


def test_a_control_group_limits_processors(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("common.clock.monotonic", lambda: now[0])
    fake.write("cgroup/cpu.max", "50000 100000\n")
    fake.write("cgroup/cpu.stat", "usage_usec 1000000\n")
    machine = fake.machine()
    fake.write("cgroup/cpu.stat", "usage_usec 1500000\n")
    now[0] += 2.0
    assert machine.memory_and_processors()["cpu_util"] == 50, (
        "half a second of the one that half a processor has in two"
    )


def test_how_busy_the_machine_is(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("common.clock.monotonic", lambda: now[0])
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    machine = fake.machine()
    fake.busy(2 * os.sysconf("SC_CLK_TCK"))
    now[0] += 2.0
    assert machine.memory_and_processors()["cpu_util"] == 25


def test_on_this_machine() -> None:
    machine = Machine()
    alone = machine.memory_and_processors()
    assert 0 < alone["mem_used"] < alone["mem"]["Total"]
    assert 0 <= alone["pct_cpu_used"] <= 100
    command = [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert machine.memory_and_processors()["proc"]["Mem"]["Size"] > alone["proc"]["Mem"]["Size"]
        child.communicate()


def test_without_any_of_the_files(tmp_path: Path) -> None:
    found = Machine(tmp_path / "proc", tmp_path / "cgroup").memory_and_processors()
    assert (found["mem_used"], found["mem_avail"], found["cpu_util"]) == (0, 0, 0)


def test_the_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert deployment() == ("linux", "")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert deployment() == ("K8s", os.uname().nodename)


def test_growth_is_told_by_looks_that_are_far_enough_apart() -> None:
    growth = Growth({"a": 10.0}, 0.0)
    assert growth.look({"a": 12.0}, 0.5) == {"a": 0.0}
    assert growth.look({"a": 20.0, "b": 5.0}, 2.0) == {"a": 5.0, "b": 0.0}
    assert growth.look({"a": 99.0, "b": 99.0}, 2.9) == {"a": 5.0, "b": 0.0}
    assert growth.look({"a": 3.0, "b": 7.0}, 3.0) == {"a": 0.0, "b": 2.0}, "a has begun anew"
