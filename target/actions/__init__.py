"""What a target does for actions on whole buckets: copies objects to other buckets, counts what is here."""
