"""Batches: many objects and members of archives in one answer; in HTTP they are `target.api`'s."""
