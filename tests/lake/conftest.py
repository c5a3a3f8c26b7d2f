"""No test inherits what another learnt of Graph's clock."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from outlook_lake import clock


@pytest.fixture(autouse=True)
def plain_clock() -> Iterator[None]:
    """Graph's clock is this computer's, before and after."""
    clock.set_offset(0.0)
    yield
    clock.set_offset(0.0)
