"""What is used in a `with` block and closed at its end, however that comes."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Closing(ABC):
    """The `with` statement for whatever has a `close`."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of what is held open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
