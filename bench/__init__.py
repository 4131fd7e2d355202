"""Measures Haul beside what a user would otherwise run (curl, aria2c, nginx) in the same run; asserts nothing."""
