"""The storage node: owns mountpaths, downloads its share of every job, stores and serves objects."""
