"""What goes wrong through no fault of the program."""


class InputError(ValueError):
    """The user's input is wrong: one line that says what, where, and how to mend it.

    The command line prints the message alone and exits with 2. Raise it for files, options and data that come from
    outside, never for a broken promise between our own functions.
    """

    silent = False  # of several processes that fail alike, one prints the message


class Stopped(RuntimeError):
    """The work could not or should not continue: one line that says why, what was kept, and how to resume.

    The command line prints the message alone and exits with ``exit_code``.
    """

    silent = False  # likewise

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its type's name where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
