"""Words by which secrets and personal data of the tests are known: none may ever be where it does not belong."""

MARK = "c4n4ry"
PASSWORD = f"{MARK}-password"
CUSTOMER = f"{MARK}-customer"
ADDRESS = f"{MARK} street 7"
FOOD = f"{MARK} burrito"
