"""Objects whose owner has changed: moved to it in the background, found meanwhile where they still are."""
