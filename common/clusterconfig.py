"""The cluster configuration that AIStore's clients read: its sections must be there, and say nothing of ours; pure.

Values are AIStore's defaults (wire.md §4.6). How a node of ours is configured say `proxy.config` and `target.config`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from common.buckets import DEFAULT_SECTIONS

_SECTIONS: dict[str, Any] = {
    **DEFAULT_SECTIONS,
    "tcb": {"compression": "never", "bundle_multiplier": 2, "burst_buffer": 512},
    "tco": {"compression": "never", "bundle_multiplier": 2, "burst_buffer": 512},
    "arch": {"compression": "never", "bundle_multiplier": 2, "burst_buffer": 512},
    "lso": {
        "compression": "never",
        "bundle_multiplier": 1,
        "burst_buffer": 32,
        "walk_buffer": 128,
        "idle_time": "20s",
        "quiescent": "5s",
    },
    "keepalivetracker": {
        "proxy": {"name": "heartbeat", "interval": "10s", "factor": 3},
        "target": {"name": "heartbeat", "interval": "10s", "factor": 3},
        "num_retries": 3,
        "retry_factor": 4,
    },
    "rebalance": {
        "compression": "never",
        "bundle_multiplier": 2,
        "burst_buffer": 1024,
        "dest_retry_time": "2m",
        "enabled": True,
    },
    "log": {
        "level": "3",
        "max_size": "64MiB",
        "max_total": "512MiB",
        "flush_time": "1m",
        "stats_time": "3m",
        "to_stderr": False,
    },
    "get_batch": {
        "compression": "never",
        "bundle_multiplier": 2,
        "burst_buffer": 512,
        "max_wait": "20s",
        "warmup_workers": -1,
        "max_soft_errs": 8,
        "max_gfn": 5,
    },
    "space": {
        "cleanupwm": 88,
        "lowwm": 90,
        "highwm": 95,
        "out_of_space": 98,
        "batch_size": 32768,
        "dont_cleanup_time": "2h0m",
    },
    "transport": {
        "max_header": 4096,
        "burst_buffer": 1024,
        "idle_teardown": "4s",
        "quiescent": "10s",
        "lz4_block": "256KiB",
        "lz4_frame_checksum": False,
    },
    "disk": {
        "disk_util_low_wm": 20,
        "disk_util_high_wm": 80,
        "disk_util_max_wm": 95,
        "iostat_time_long": "2s",
        "iostat_time_short": "100ms",
        "iostat_time_smooth": "8s",
    },
    "fshc": {"test_files": 4, "error_limit": 2, "io_err_limit": 10, "io_err_time": "10s", "enabled": True},
    "periodic": {"stats_time": "10s", "retry_sync_time": "2s", "notif_time": "30s"},
    "client": {"client_timeout": "10s", "client_long_timeout": "5m", "list_timeout": "5m"},
    "downloader": {"timeout": "1h0m"},
    "auth": {"client_auth_required": False},
    "backend": {},
    "net": {
        "l4": {"proto": "tcp", "sndrcv_buf_size": 131072},
        "http": {
            "server_crt": "",
            "server_key": "",
            "client_ca_tls": "",
            "client_auth_tls": 0,
            "domain_tls": "",
            "idle_conn_time": "6s",
            "backend_idle_conn_time": "6s",
            "idle_conns_per_host": 32,
            "idle_conns": 256,
            "write_buffer_size": 65536,
            "read_buffer_size": 65536,
            "use_https": False,
            "skip_verify": False,
            "chunked_transfer": True,
        },
        "use_ipv6": False,
    },
    "timeout": {
        "cplane_operation": "2s",
        "max_keepalive": "5s",
        "max_host_busy": "20s",
        "startup_time": "1m",
        "join_startup_time": "3m",
        "send_file_time": "5m",
        "ec_streams_time": "10m",
        "object_md": "2h0m",
        "cold_get_conflict": "5s",
    },
    "memsys": {
        "min_free": "2GiB",
        "default_buf": "32KiB",
        "to_gc": "4GiB",
        "hk_time": "3m",
        "min_pct_total": 0,
        "min_pct_free": 0,
    },
    "features": "0",
    "config_version": "0",
    "resilver": {"enabled": True},
}


def cluster_config(cluster_id: str, primary_url: str) -> dict[str, Any]:
    """All sections, with this cluster's id and the URL of its first living proxy."""
    primary = {"primary_url": primary_url, "original_url": primary_url, "discovery_url": "", "non_electable": False}
    return copy.deepcopy(_SECTIONS) | {"uuid": cluster_id, "lastupdate_time": "", "proxy": primary}


def node_config(cluster: dict[str, Any], client_url: str, mountpaths: Iterable[str] = ()) -> dict[str, Any]:
    """AIStore's LocalConfig of one node together with the cluster's; directories other than mountpaths are not told."""
    parts = urlsplit(client_url)
    port = str(parts.port or "")
    net = {"hostname": parts.hostname or "", "hostname_intra_control": "", "hostname_intra_data": "", "port": port}
    return {
        "fspaths": dict.fromkeys(mountpaths, ""),
        "confdir": "",
        "log_dir": "",
        "test_fspaths": {"root": "", "count": 0, "instance": 0},
        "host_net": net | {"port_intra_control": port, "port_intra_data": port},
    } | cluster
