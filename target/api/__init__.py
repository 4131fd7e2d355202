"""The HTTP surface of a target, plain ASGI: objects for clients, intra-cluster calls for proxies, self-description."""
