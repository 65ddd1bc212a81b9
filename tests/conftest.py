"""What holds for all tests: hypothesis has no deadline per example (the machine is shared) and prints how to repeat a
failure.
"""

from hypothesis import settings

settings.register_profile("ordersaga", deadline=None, print_blob=True)
settings.load_profile("ordersaga")
