"""What may go wrong with servers on this machine.

LocalError
├── PartMissing   something has to be installed first; the message names the command that does it
└── NotReady      a process of ours died, or did not do in time what it was started for; the message ends with its log

Neither is retriable: somebody has to look.
"""


class LocalError(Exception):
    """A server on this machine could not be had."""

    retriable = False


class PartMissing(LocalError):
    pass


class NotReady(LocalError):
    pass
