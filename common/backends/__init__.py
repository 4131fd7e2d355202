"""Buckets outside of the cluster: listed, looked at, and turned into requests; moving bytes is left to targets."""
