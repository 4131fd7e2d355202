"""Download jobs: what is posted, what their status says, and how it is shown."""
