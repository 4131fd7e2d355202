"""`haul storage mountpath …` against a running target."""

import json
import subprocess
import sys
from pathlib import Path

from tests.disks.operating import wait_until_settled
from tests.nodes import ROOT, Nodes
from tests.waiting import wait_for


def haul(nodes: Nodes, *words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "cli.main", *words, "--endpoint", nodes.urls["p1"]]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    return done.returncode, done.stdout, done.stderr


def test_mountpaths_are_shown_and_changed(tmp_path: Path) -> None:
    with Nodes(tmp_path, targets=2, mountpaths=2) as nodes:
        nodes.api.create_bucket("b")
        nodes.api.put("b", "x", b"x")
        new, old = tmp_path / "t1" / "new", tmp_path / "t1" / "mp1"
        new.mkdir()
        assert haul(nodes, "storage", "mountpath", "attach", f"t1={new}") == (0, f"Attached t1={new}\n", "")
        assert haul(nodes, "storage", "mountpath", "disable", f"t1:{old}") == (0, f"Disabling t1={old}\n", "")
        wait_until_settled(nodes, tmp_path / "t1")
        code, out, _ = haul(nodes, "storage", "mountpath", "show", "t1", "--json")
        assert (code, json.loads(out)["t1"]["disabled"]) == (0, [str(old)])
        code, out, _ = haul(nodes, "storage", "mountpath", "show")
        lines = [line.split() for line in out.splitlines()]
        assert ["t1", str(old), "disabled"] in lines
        assert ["t1", str(new), "enabled"] in lines
        assert len([line for line in lines if line[0] == "t2"]) == 2
        code, out, _ = haul(nodes, "show", "job", "resilver")
        assert (code, out.split()[:3]) == (0, ["TARGET", "ID", "OBJECTS"])
        assert "finished" in out
        assert haul(nodes, "storage", "mountpath", "enable", f"t1={old}")[0] == 0
        wait_for(lambda: "disabled" not in haul(nodes, "storage", "mountpath", "show")[1])


def test_mistakes_are_explained(tmp_path: Path) -> None:
    with Nodes(tmp_path, targets=2, mountpaths=1) as nodes:
        for words, code, text in (
            (["attach", "/x"], 2, "names no target: expected TARGET=PATH"),
            (["attach", "t1=x"], 2, "the path must be absolute"),
            (["attach", "t7=/x"], 1, 'there is no target "t7": there are t1, t2'),
            (["show", "t7"], 1, 'there is no target "t7": there are t1, t2'),
            (["detach", "t1=/x"], 1, "is no mountpath of target t1"),
            (["detach", f"t1={tmp_path}/t1/mp1"], 1, "is the last enabled one"),
            (["attach", f"t1={tmp_path}/t2/mp1"], 1, "belongs to target t2, not to t1"),
        ):
            returned, out, error = haul(nodes, "storage", "mountpath", *words)
            assert (returned, out) == (code, ""), (words, error)
            assert text in error
