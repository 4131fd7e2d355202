"""Rebalance as the proxies see it: when a placement is settled, and what has been moved."""
