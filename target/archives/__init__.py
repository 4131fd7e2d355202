"""Archives among the stored objects: what is in them, and reading single members; in HTTP they are `target.api`'s."""
