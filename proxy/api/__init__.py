"""The proxy's HTTP routes: reading requests and writing answers; what happens in between is left to others."""
