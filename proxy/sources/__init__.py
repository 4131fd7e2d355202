"""Where objects come from that has to be listed before it is fetched; fetching is left to targets."""
