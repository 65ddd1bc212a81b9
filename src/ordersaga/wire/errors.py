"""The one error of this package."""


class WireError(Exception):
    """A message cannot be read or written: `field` says where (a path such as `payload.order_id`, or empty for the
    whole), `problem` what is wrong.

    Never retriable: the same bytes fail the same way.
    """

    retriable = False

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field = field
        self.problem = problem
