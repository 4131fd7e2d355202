"""A target's part of download jobs: journal, scheduling and the lanes that carry tasks out."""
