"""Nodes as real processes: their own log can be read, their memory is theirs and their carriers'."""

from __future__ import annotations

import json
from pathlib import Path

from tests.ais.goapi import GoApi
from tests.nodes import Nodes


def test_a_process_tells_its_own_log_and_its_own_memory(tmp_path: Path) -> None:
    with Nodes(tmp_path, targets=1, proxies=1) as nodes:
        ais = GoApi(nodes.urls["p1"])
        for node_id, event in (("p1", "leadership.taken"), ("t1", "")):
            headers = {"Ais-Node-Id": node_id}
            text = ais.call("GET", "/v1/reverse/daemon", {"what": "log"}, headers=headers).body
            lines = [json.loads(line) for line in text.splitlines()]
            written = (tmp_path / f"{node_id}.log").read_bytes()
            assert text in written
            assert not event or event in [line["event"] for line in lines]
            resident = ais.node(node_id, "sysinfo")["mem_used"]
            status = Path(f"/proc/{nodes.pid(node_id)}/statm").read_text(encoding="ascii")
            own = int(status.split()[1]) * 4096
            assert own // 2 < resident
            if node_id == "t1":
                assert resident > own, "its carriers are processes, too"


def test_a_cluster_that_is_attached_is_shown_with_its_map(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with Nodes(tmp_path / "one", targets=1, proxies=1) as there:
        file = tmp_path / "backends.toml"
        silent = f"http://127.0.0.1:{there.free_port()}"
        file.write_text(f'[clusters.near]\nurl = "{there.urls["p1"]}"\n\n[clusters.silent]\nurl = "{silent}"\n')
        settings = {"backends_file": str(file)}
        with Nodes(tmp_path / "two", targets=1, proxies=1, proxy_settings=settings, target_settings=settings) as here:
            found = GoApi(here.urls["p1"]).cluster("remote")
            near, unreached = found["a"]
            assert isinstance(found["ver"], int)
            assert (near["alias"], near["url"], near["uuid"]) == ("near", there.urls["p1"], "testcluster")
            assert set(near["smap"]["tmap"]) == {"t1"}
            assert (unreached["alias"], unreached["url"], unreached["uuid"]) == ("silent", silent, "")
            assert unreached["smap"] is None
