"""The gateway: accepts jobs, plans them over the targets, answers for them, and redirects object requests."""
