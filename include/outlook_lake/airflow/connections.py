"""Credentials from an Airflow connection of type `msgraph`, whatever backend keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outlook_lake.tenants.credentials import TenantConnection

__all__ = ["tenant_connection"]

CONNECTION_FIELDS = ("conn_type", "login", "password", "host", "schema", "port")


def tenant_connection(conn_id: str) -> TenantConnection:
    """The credentials in an Airflow connection of type `msgraph`, from any secrets backend.

    Raises UsageError, in words, when a field is missing or a host is not one of Graph's.
    """
    from airflow.sdk import BaseHook

    from outlook_lake.tenants.credentials import parse_connection

    connection = BaseHook.get_connection(conn_id)
    fields = {name: getattr(connection, name) for name in CONNECTION_FIELDS}
    return parse_connection(conn_id, {**fields, "extra": connection.extra_dejson})
