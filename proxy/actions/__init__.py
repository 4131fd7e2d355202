"""Actions on whole buckets: copies and moves, and what becomes of them; how much is in a bucket."""
