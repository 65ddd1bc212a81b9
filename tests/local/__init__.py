"""The servers on this machine."""
