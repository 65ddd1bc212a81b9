"""What servers of ours have to say to whoever waits for them: on the standard error, for the output is the caller's."""

import sys


def say(text: str) -> None:
    sys.stderr.write(f"ordersaga: {text}\n")
    sys.stderr.flush()
