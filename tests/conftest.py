"""Settings of property tests: how long an example takes depends on who else uses the machine, so nothing is timed."""

from hypothesis import HealthCheck, settings

settings.register_profile("haul", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("haul")
