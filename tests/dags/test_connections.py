"""A connection that is not there is one tenant's trouble, told in words."""

from __future__ import annotations

import pytest

from outlook_lake.errors import UsageError


def test_a_connection_airflow_does_not_have_is_told_in_words():
    from outlook_lake.airflow.connections import tenant_connection

    with pytest.raises(UsageError, match="no connection 'nowhere' in Airflow: add it under Admin"):
        tenant_connection("nowhere")
