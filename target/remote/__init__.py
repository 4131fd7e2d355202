"""Objects that are outside until somebody reads them: looked at, fetched, kept; asking is left to `common.backends`."""
