"""A fault lasts as long as it is told to; nothing is waited for meanwhile."""

import time


def lasts(seconds: float) -> None:
    time.sleep(seconds)
