"""Every named error of edgesync: whose fault it is, whether time may heal it, and what to do next.

An error that a board meets travels in `reported` under its name (the class name without "Error") and is shown
by `edgesync status`. So the names are protocol: add, never rename.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Fault = Literal["board", "server", "operator", "link"]

DETAIL_LIMIT = 200
"""Characters of detail that travel in `reported`; the log has the whole text."""


class EdgesyncError(Exception):
    """Base of all errors. `fault` says whose they are, `heals` whether the same step may succeed later unaided."""

    fault: ClassVar[Fault] = "board"
    heals: ClassVar[bool] = False
    hint: ClassVar[str] = ""

    @property
    def name(self) -> str:
        return type(self).__name__.removesuffix("Error")

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text} ({self.hint})" if self.hint else text


# --- what comes over the network -------------------------------------------------------------------------------


class MessageTooLargeError(EdgesyncError):
    """A message is larger than its topic allows; it was dropped before it was parsed."""

    fault = "server"


class MalformedMessageError(EdgesyncError):
    """A message does not have the form that its topic asks for; it was dropped."""

    fault = "server"


class ForgedMessageError(EdgesyncError):
    """A signature is missing or wrong; the message was dropped and nothing was done because of it."""

    fault = "server"


class StaleMessageError(EdgesyncError):
    """A signed message is older than one already accepted, expired, or meant for another device."""

    fault = "server"


class UnknownFormatError(EdgesyncError):
    """The other side speaks a format of a version that this one does not know."""

    fault = "server"
    hint = "update the older side first"


class LinkError(EdgesyncError):
    """The broker cannot be reached, or the connection broke."""

    fault = "link"
    heals = True


class QueueFullError(EdgesyncError):
    """A bounded queue towards the network is full; the newest message was not taken."""

    fault = "link"
    heals = True


# --- fetching ----------------------------------------------------------------------------------------------------


class BlobMissingError(EdgesyncError):
    """The broker was asked three times for a piece and stayed silent."""

    fault = "server"
    heals = True
    hint = "the server publishes it again when it reads this report"


class BlobWithdrawnError(EdgesyncError):
    """The blob was cleared from the broker while it was fetched."""

    fault = "server"
    heals = True


class BlobCorruptError(EdgesyncError):
    """Bytes of a blob do not match their hash; they were thrown away and asked for again."""

    fault = "link"
    heals = True


# --- the board ---------------------------------------------------------------------------------------------------


class BaseModifiedError(EdgesyncError):
    """The booted slot, or the config that is here, is not what the delta was made from."""

    hint = "it was written to, or is another one; the server can send the whole"


class DeltaCorruptError(EdgesyncError):
    """The delta breaks its own format: it is not what the server meant to make."""

    fault = "server"


class ResultMismatchError(EdgesyncError):
    """The image that was built does not have the digest that was signed."""

    fault = "server"


class DiskFullError(EdgesyncError):
    """There is no room for the download or for the slot."""

    heals = True
    hint = "free space on the board; it tries again by itself"


class StorageError(EdgesyncError):
    """A read or write of the board's storage failed."""

    heals = True


class MemoryShortError(EdgesyncError):
    """The board's memory is short; what needs memory is put off until it is not."""

    heals = True


class WorkerDiedError(EdgesyncError):
    """A worker process ended without a reply: killed, out of memory, or crashed."""

    heals = True


class WorkerStalledError(EdgesyncError):
    """A worker process showed no progress for too long and was killed."""

    heals = True


class BootFailedError(EdgesyncError):
    """The new slot was tried and the boot loader came back to the old one."""

    fault = "operator"
    hint = "this image is quarantined on the board until another is wanted, or `edgesync retry`"


class ProbeFailedError(EdgesyncError):
    """The new slot booted but was not healthy within its deadline, or a probe of the new config failed; the board goes
    back.
    """

    fault = "operator"


class QuarantinedError(EdgesyncError):
    """The wanted image or config failed here before; it is not tried again by itself."""

    fault = "operator"
    hint = "push another or run `edgesync retry`"


class RequirementError(EdgesyncError):
    """The config requires firmware that does not run here yet; it waits."""

    fault = "operator"
    heals = True


class NotAllowedError(EdgesyncError):
    """The config asks for a path or a command that the board does not offer; the running config is untouched."""

    fault = "operator"
    hint = "the board type's profile lists what is allowed"


class CheckFailedError(EdgesyncError):
    """A check refused the new config before it was switched to; the running config is untouched."""

    fault = "operator"


class ReloadFailedError(EdgesyncError):
    """An application did not take the new config; the board goes back to the one before."""

    fault = "operator"


class ConfigIgnoredError(EdgesyncError):
    """The board's agent says nothing of the config that it was sent: it is of a version that does not know config."""

    fault = "operator"
    hint = "roll out firmware with a newer agent"


class BudgetSpentError(EdgesyncError):
    """What is left of the board's bytes for this month does not suffice for the fetch."""

    fault = "operator"
    heals = True
    hint = "it goes on by itself when the month turns, or with a larger byte_budget"


class InhibitedError(EdgesyncError):
    """Something on the board says "not now"; the update waits, as long as the fleet's defer limit lets it."""

    heals = True


class ClockJumpedError(EdgesyncError):
    """The wall clock moved backwards; trusted time did not."""

    heals = True


# --- the server --------------------------------------------------------------------------------------------------


class BuildFailedError(EdgesyncError):
    """A delta or full image could not be made."""

    fault = "server"
    heals = True
    hint = "`edgesync retry` tries again"


class BeyondMeansError(EdgesyncError):
    """No way to the wanted image that the failure policy allows fits the memory, disk and time of the board."""

    fault = "operator"
    hint = "`edgesync status BOARD` weighs every way; the limits are in the board type's profile"


# --- what an operator writes -------------------------------------------------------------------------------------


class ConfigError(EdgesyncError):
    """A file written by a person is wrong: the text names the file, the line where possible, and the key."""

    fault = "operator"


class UntrustedCommitError(EdgesyncError):
    """The head of the followed branch is not signed by one of the allowed signers; nothing was read from it."""

    fault = "operator"
    hint = "sign it (`git commit -S`) with a key of the allowed signers; the last good revision stays in force"


class ImageUnreadableError(EdgesyncError):
    """An image file is packed in a way that cannot be unpacked: broken, cut off, or larger than allowed."""

    fault = "operator"


class CollectorFailedError(EdgesyncError):
    """A component of the collector reported an error that it cannot go on with; the collector stopped."""

    fault = "operator"


class SeriesLimitError(EdgesyncError):
    """Metrics have more series, or longer labels, than a page for Prometheus may have; what is above is dropped."""

    fault = "operator"
    heals = True
    hint = "find who makes up label values, or raise the limit"


class NotReachableError(EdgesyncError):
    """A local part (the server's socket, git, mosquitto) is not there."""

    fault = "operator"


def by_name(name: str) -> type[EdgesyncError] | None:
    """The error class behind a name from the wire, or None for a name that only a newer version knows."""
    return _NAMES.get(name)


_NAMES = {c.__name__.removesuffix("Error"): c for c in EdgesyncError.__subclasses__()}
