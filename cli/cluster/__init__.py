"""Runs a cluster on one machine: its shape on disk, its processes, and the commands around them."""
