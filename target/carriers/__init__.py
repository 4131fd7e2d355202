"""The processes that move bytes: one for each lane of a target, because one Python process cannot use two cores."""
