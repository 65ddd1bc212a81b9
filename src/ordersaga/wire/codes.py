"""What a refusal's `error` is: a code, or, from existing services, a sentence of their own (contract B8, B10). A code
may be kept as it is. A sentence may hold anything: SQL, an address, whose order it was.
"""

import re

_CODE = re.compile(r"\w{1,60}", re.ASCII)


def is_code(error: str) -> bool:
    """Whether it is one word."""
    return _CODE.fullmatch(error) is not None
