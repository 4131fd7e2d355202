"""The meta store of many machines: an etcd cluster, spoken to through its HTTP/JSON gateway."""
