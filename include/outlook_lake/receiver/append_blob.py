"""The open segment as an Azure Append Blob, for receivers without a disk of their own.

    <ship_to>/open/<name>.segment    one receiver appends a block a commit; a block is whole or not
    metadata closed=1                footer written, ready for workers

A block that Azure has confirmed is replicated: that is this writer's fdatasync, at 5 to 30 ms
instead of 1. Workers fence before they take what a dead receiver left: they hold the blob's
lease, without which nobody can append any more, and a receiver that was only asleep answers 503.
What was refused cannot be cut away again here, so that it may be landed though it was answered
503; it comes twice then, which is one hint.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from outlook_lake.clock import graph_us, machine_us
from outlook_lake.errors import UsageError
from outlook_lake.receiver.segments import SUFFIX, VERSION, Footer, Header, record

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient, ContainerClient

__all__ = ["AppendBlobWriter", "OpenBlobs"]

CLOSED = {"closed": "1"}
ABANDONED_S = 30.0
"""A blob that nobody has closed or appended to for so long belongs to a dead receiver."""
FENCE_S = 60
"""Length of the lease under which workers take a blob; taking one takes a second."""
TIMEOUT_S = 2
"""Of one request, without a second try: the answer to Graph cannot wait longer."""


class AppendBlobWriter:
    """As `SegmentWriter`, on a blob: what `append` returns from is durable.

    `age_s`: seconds of machine time. Whatever Azure says no with is an OSError here.
    """

    def __init__(
        self,
        url: str,
        receiver: str,
        *,
        age_s: float,
        size_bytes: int,
        vouched_since: Callable[[], int | None],
    ) -> None:
        self._url = url
        self._receiver = receiver
        self._age_s = age_s
        self._size_bytes = size_bytes
        self._vouched_since = vouched_since
        self._container: ContainerClient | None = None
        self._prefix = ""
        self._blob: BlobClient | None = None
        self._named_at = 0
        self._opened = 0.0  # monotonic
        self._good = 0
        self._records = 0
        self._notifications = 0

    def append(self, lines: list[bytes], notifications: int) -> None:
        """Make these records durable in one block, or raise OSError."""
        data = b"".join(lines)
        try:
            with _as_os_error():
                if self._blob is None:
                    data = self._create() + data
                self._write(data)
        except BaseException:
            self._drop()  # as it is: workers take it when nobody has touched it for a while
            raise
        self._records += len(lines)
        self._notifications += notifications

    def close_in(self) -> float | None:
        """Seconds until the open segment is due; 0 when it is; None when none is open."""
        if self._blob is None:
            return None
        if self._good >= self._size_bytes:
            return 0.0
        return max(0.0, self._opened + self._age_s - time.monotonic())

    def age_s(self) -> float:
        """Age of the open segment, seconds of machine time; 0 when none is open."""
        return time.monotonic() - self._opened if self._blob is not None else 0.0

    def close(self) -> None:
        """Write the footer and say that it is closed; on OSError workers take it later."""
        if self._blob is None:
            return
        try:
            with _as_os_error():
                footer = Footer(self._records, self._notifications, graph_us())
                self._write(record(b"f", msgspec.json.encode(footer)))
                self._blob.set_blob_metadata(CLOSED, timeout=TIMEOUT_S)
        finally:
            self._drop()

    def probe(self) -> None:
        """Whether the container takes data at all; raises OSError when it does not."""
        with _as_os_error():
            name = f"{self._folder()}.probe-{self._receiver}"
            blob = self._client().get_blob_client(name)
            blob.create_append_blob(timeout=TIMEOUT_S)
            blob.append_block(b"probe", timeout=TIMEOUT_S)
            blob.delete_blob(timeout=TIMEOUT_S)

    def _create(self) -> bytes:
        self._named_at = max(self._named_at + 1, machine_us())
        name = f"{self._folder()}{self._named_at:016d}-{self._receiver}{SUFFIX}"
        self._blob = self._client().get_blob_client(name)
        self._blob.create_append_blob(timeout=TIMEOUT_S)
        self._opened = time.monotonic()
        self._good = 0
        header = Header(VERSION, self._receiver, os.getpid(), graph_us(), self._vouched_since())
        return record(b"h", msgspec.json.encode(header))

    def _write(self, data: bytes) -> None:
        assert self._blob is not None
        # At this very place: a block that was thought lost can never be followed by another.
        self._blob.append_block(data, appendpos_condition=self._good, timeout=TIMEOUT_S)
        self._good += len(data)

    def _client(self) -> ContainerClient:
        if self._container is None:
            self._container, self._prefix = connect(self._url)
        return self._container

    def _folder(self) -> str:
        self._client()
        return f"{self._prefix}open/"

    def _drop(self) -> None:
        self._blob = None
        self._good = self._records = self._notifications = 0


class OpenBlobs:
    """The workers' side: what is closed, and what dead receivers left."""

    def __init__(self, url: str, *, abandoned_s: float = ABANDONED_S) -> None:
        self._container, self._prefix = connect(url)
        self._abandoned_s = abandoned_s

    def names(self) -> list[str]:
        """Segments that can be taken, oldest first."""
        limit = datetime.now(UTC) - timedelta(seconds=self._abandoned_s)
        folder = f"{self._prefix}open/"
        found = self._container.list_blobs(name_starts_with=folder, include=["metadata"])
        return sorted(
            blob.name.removeprefix(folder)
            for blob in found
            if blob.name.endswith(SUFFIX)
            and ((blob.metadata or {}).get("closed") or blob.last_modified < limit)
        )

    @contextmanager
    def taking(self, name: str) -> Iterator[bytes | None]:
        """The whole segment, fenced; removed when the block ends well. None: another has it."""
        from azure.core.exceptions import HttpResponseError

        blob = self._container.get_blob_client(f"{self._prefix}open/{name}")
        try:
            lease = blob.acquire_lease(FENCE_S)
        except HttpResponseError:  # gone, or another worker is at it
            yield None
            return
        try:
            yield blob.download_blob(lease=lease).readall()
            blob.delete_blob(lease=lease)
        except BaseException:
            with suppress(HttpResponseError):
                lease.release()
            raise


def connect(url: str) -> tuple[ContainerClient, str]:
    """The container of `abfs://CONTAINER[@ACCOUNT…]/PATH`, and the path with a slash behind.

    Credentials: AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME with what
    DefaultAzureCredential finds. UsageError when the URL is of another kind.
    """
    from azure.storage.blob import BlobServiceClient

    hush()
    parts = urlsplit(url)
    container, _, host = parts.netloc.partition("@")
    if parts.scheme not in ("abfs", "abfss", "az") or not container:
        raise UsageError("append blobs need receiver.ship_to = abfs://CONTAINER/FOLDER")
    path = parts.path.strip("/")
    once: dict[str, Any] = {"retry_total": 0, "connection_timeout": TIMEOUT_S}
    text = os.environ.get("AZURE_STORAGE_CONNECTION_STRING")
    if text:
        service = BlobServiceClient.from_connection_string(text, **once)
    else:
        from azure.identity import DefaultAzureCredential

        account = host.partition(".")[0] or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")
        if not account:
            raise UsageError("set AZURE_STORAGE_ACCOUNT_NAME, or name it: abfs://C@ACCOUNT/FOLDER")
        address = f"https://{account}.blob.core.windows.net"
        service = BlobServiceClient(address, credential=DefaultAzureCredential(), **once)
    return service.get_container_client(container), f"{path}/" if path else ""


def hush() -> None:
    """Azure's clients log every request with its URL and headers otherwise."""
    logging.getLogger("azure").setLevel(logging.WARNING)


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Azure's errors by their code alone: their text holds URLs and headers."""
    from azure.core.exceptions import AzureError

    try:
        yield
    except AzureError as error:
        code = getattr(error, "error_code", None) or type(error).__name__
        raise OSError(f"the append blob was refused: {getattr(code, 'value', code)}") from None
