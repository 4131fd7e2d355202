"""Objects on the disks of one target: written whole or not at all, found by name, described by themselves.

Reading path: `store` (which disk) → `writer` (bytes to a work file) → `committer` (made durable, renamed) → `reader`.
`layout` says where an object lies, `metadata` what is kept beside its bytes, `directories` how buckets come and go.
Which objects to store, and speaking HTTP, is left to `target.downloads` and `target.api`.
"""
