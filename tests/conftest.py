"""How Hypothesis runs everywhere: never judged by the machine's speed, and without a file of its own in the checkout."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "house",
    # A machine under load is no failure of what is tested.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # A checkout may be read-only; what failed is printed, to be tried again with @reproduce_failure.
    database=None,
    print_blob=True,
)
settings.load_profile("house")
