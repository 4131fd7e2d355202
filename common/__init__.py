"""What proxies, targets and the command line agree on; it imports none of them."""
