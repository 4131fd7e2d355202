"""Fetching objects from origins over libcurl, one engine for each lane.

What is fetched when is left to `target.downloads`, where the bytes go to `target.storage`.
"""
