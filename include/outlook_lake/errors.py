"""What can go wrong, in one tree: what happened, to whom, what to do.

OutlookLakeError
  UsageError                    wrong use; the message says what to do (exit code 2)
    SettingsError               a setting that cannot be (all faults at once)
    AnotherInstanceError        this home is already being run by someone
  StateError                    the state database cannot be used as it is
    LeaseLostError              somebody else took the mailbox or the hour; do it again
    RestoredStateError          the lake is ahead of the state database
  StorageError                  staging, log or lake cannot be written or read
    TornSegmentError            a segment that cannot be read even up to a record
    ForeignFileError            a file in the lake that is not one of ours
  GraphError                    an answer of Graph; carries status, code and request id
    TransientGraphError         try again later, nothing is lost
      ThrottledError            429, 503, 504; carries retry_after (seconds, machine time)
      UnreachableError          no answer, 5xx
    TerminalGraphError          trying again changes nothing
      TokenRefusedError         401, or the token endpoint said no
      ConsentError              403: the application may not do this
      MailboxGoneError          no usable mailbox: park it
      ItemGoneError             404 ErrorItemNotFound
      FolderGoneError           the folder is no longer there
      DeltaExpiredError         410, SyncStateNotFound and the like: start the folder again
      DeltaUnavailableError     403 ErrorQuotaExceeded on delta: list and compare instead
      RefusedError              any other 4xx
    UntrustedLinkError          a link or id that leaves the configured host or its place
  AuditError                    the journal could not be compared with the lake

Transient and Terminal are what retry decisions are made from, in one place: `is_transient`.
No message ever holds a secret, an address, a subject or an item's content.
"""

from __future__ import annotations


class OutlookLakeError(Exception):
    """Root of everything this project raises on purpose."""


class UsageError(OutlookLakeError):
    """Wrong use: the message names what was found, what was expected, what to do."""


class SettingsError(UsageError):
    """One or more settings cannot be; every fault is listed at once."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("settings cannot be used:\n  " + "\n  ".join(faults))


class AnotherInstanceError(UsageError):
    """This home is already being run by another process."""


class StateError(OutlookLakeError):
    """The state database cannot be used as it is."""


class LeaseLostError(StateError):
    """Some leases were taken by somebody else before the commit; nothing was written."""

    def __init__(self, lost: frozenset[int]) -> None:
        self.lost = lost
        super().__init__(
            f"{len(lost)} lease(s) were lost before the commit; nothing was written. "
            "The rest of the batch is diffed again; the lost ones are somebody else's now."
        )


class RestoredStateError(StateError):
    """The event log holds batches the state database does not know: it was restored."""


class StorageError(OutlookLakeError):
    """Staging, event log or lake cannot be written or read."""


class TornSegmentError(StorageError):
    """A segment without a readable header."""


class ForeignFileError(StorageError):
    """A file where one of ours was expected."""


class GraphError(OutlookLakeError):
    """An answer of Graph, without its message text (which may quote mail)."""

    def __init__(self, what: str, *, status: int = 0, code: str = "", request_id: str = "") -> None:
        self.status = status
        self.code = code
        self.request_id = request_id
        detail = ", ".join(
            part
            for part in (
                f"HTTP {status}" if status else "",
                code,
                f"request-id {request_id}" if request_id else "",
            )
            if part
        )
        super().__init__(f"{what} ({detail})" if detail else what)


class TransientGraphError(GraphError):
    """Try again later; nothing is lost."""


class ThrottledError(TransientGraphError):
    """429, 503 or 504. `retry_after` in seconds of machine time."""

    def __init__(
        self,
        what: str,
        *,
        retry_after: float,
        status: int = 429,
        code: str = "",
        request_id: str = "",
    ) -> None:
        self.retry_after = retry_after
        super().__init__(what, status=status, code=code, request_id=request_id)


class UnreachableError(TransientGraphError):
    """No answer in time, a reset connection, or a 5xx."""


class TerminalGraphError(GraphError):
    """Trying the same again changes nothing."""


class TokenRefusedError(TerminalGraphError):
    """401, or the token endpoint refused the credentials."""


class ConsentError(TerminalGraphError):
    """403: the application may not do this. Grant the permission, or wait for it to spread."""


class MailboxGoneError(TerminalGraphError):
    """No usable mailbox behind this user: parked, and checked again daily."""


class ItemGoneError(TerminalGraphError):
    """404 ErrorItemNotFound: an outcome, not a failure."""


class FolderGoneError(TerminalGraphError):
    """The folder is no longer there: refresh the tree."""


class DeltaExpiredError(TerminalGraphError):
    """The delta state is gone: enumerate the folder again and compare."""


class DeltaUnavailableError(TerminalGraphError):
    """Delta refuses for this mailbox: list and compare instead."""


class RefusedError(TerminalGraphError):
    """Any other refusal."""


class UntrustedLinkError(GraphError):
    """A link, id or host from outside that would lead elsewhere; it was not followed."""


class AuditError(OutlookLakeError):
    """The journal could not be compared with the lake."""


def is_transient(error: BaseException) -> bool:
    """Whether a retry can help: the one place where that is decided."""
    return isinstance(error, (TransientGraphError, LeaseLostError, OSError)) and not isinstance(
        error, UsageError
    )
