"""The one exception a user is meant to read."""


class SelfsightError(Exception):
    """A mistake that the user can mend; the command line prints it without a traceback.

    `message` says what happened and where (file, row, key); `hint` says what to do about it.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  -> {self.hint}"
