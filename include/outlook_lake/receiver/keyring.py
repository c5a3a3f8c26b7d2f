"""The keys a receiver checks with, read again when their file changes.

Key rotation adds a key to the file; receivers take it up within a second, or at the first
notification that names a key they do not know, whichever comes first.
"""

from __future__ import annotations

import logging
from pathlib import Path

from outlook_lake.errors import StateError
from outlook_lake.receiver.client_state import KEY_FILE, Verifier, ensure_keys, load_keys

__all__ = ["Keyring"]

log = logging.getLogger(__name__)


class Keyring:
    """A verifier over the keys of `folder`; the first key is made where there is none.

    Raises StateError when the key file cannot be read or made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        ensure_keys(folder)
        self._seen = self._stamp()  # before reading: a change in between is seen next time
        self.check = Verifier(load_keys(folder)).check

    def refresh(self) -> bool:
        """Read the file again if it changed. A file that became unusable changes nothing."""
        stamp = self._stamp()
        if stamp is None or stamp == self._seen:
            return False
        self._seen = stamp
        try:
            keys = load_keys(self._folder)
        except StateError as error:
            log.error("the keys read before stay in use: %s", error)
            return False
        self.check = Verifier(keys).check
        log.info("client state keys read again: %d key(s)", len(keys))
        return True

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            stat = (self._folder / KEY_FILE).stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ino, stat.st_size
