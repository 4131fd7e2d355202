"""Buckets outside of the cluster as clients use them through a proxy; asking services is left to `common.backends`."""
