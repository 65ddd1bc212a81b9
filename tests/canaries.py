"""Words by which secrets and personal data of the tests are known: none may ever be where it does not belong."""

import os

# The test of the watch gives the watched tests another mark: else the watch around it would find what it plants.
MARK = os.environ.get("CANARY_MARK", "c4n4ry")
PASSWORD = f"{MARK}-password"
CUSTOMER = f"{MARK}-customer"
ADDRESS = f"{MARK} street 7"
FOOD = f"{MARK} burrito"
