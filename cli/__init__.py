"""The `haul` command: a thin client of the public API, and the launcher of a cluster on one machine."""
