"""Download jobs at the proxy: from a request's bytes to shares on the targets, and from their figures to an answer."""
