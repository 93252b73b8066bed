"""Tests."""

from hypothesis import HealthCheck, settings

# No test depends on timing, and Hypothesis's own limits of time fail on a busy machine.
settings.register_profile("kschat", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kschat")
