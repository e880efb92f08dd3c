"""What a consumer says of data that it did not take: may the sender offer it again or not."""

from __future__ import annotations

from edgesync.wire.errors import EdgesyncError


class PermanentError(EdgesyncError):
    """The data will never be taken: it is malformed, or the backend refused it for good. Drop it and count it."""

    fault = "operator"


class RetryableError(EdgesyncError):
    """The same data may be taken later. `delay` is how many seconds the consumer asks to wait, 0 for no wish."""

    fault = "link"
    heals = True

    def __init__(self, text: str, delay: float = 0.0) -> None:
        super().__init__(text)
        self.delay = delay
