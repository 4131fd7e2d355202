"""Where clients and peers reach a node by different URLs, as behind published ports or a load balancer."""

from pathlib import Path

from tests.nodes import Nodes
from tests.origin import Origin


def test_peers_use_the_intra_url_and_clients_get_the_public_one(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path, targets=2, proxies=1)
    nodes.add_target("haul-target-2")  # as pods are called
    for node_id in nodes.target_ids:
        config = nodes.config_of(node_id)
        inside = config.read_text(encoding="utf-8").replace("public_url", "intra_url")
        config.write_text(f'{inside}public_url = "http://{node_id}.example.invalid"\n', encoding="utf-8")
    with Origin() as origin, nodes:
        for number in range(8):
            origin.put(f"/o{number}", b"data")
        job = nodes.api.download(type="range", template=origin.url("/o{0..7}"))
        assert nodes.api.finished(job)["finished_cnt"] == 8
        answer = nodes.api.http.get("/v1/objects/b/o1", follow_redirects=False)
        assert answer.headers["location"].split("/v1/")[0] in {
            f"http://{node_id}.example.invalid" for node_id in nodes.target_ids
        }
        assert nodes.smap()["tmap"]["t1"]["public_net"]["direct_url"] == "http://t1.example.invalid"
