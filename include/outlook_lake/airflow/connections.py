"""Credentials from an Airflow connection of type `msgraph`, whatever backend keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outlook_lake.tenants.credentials import TenantConnection

__all__ = ["tenant_connection"]

CONNECTION_FIELDS = ("conn_type", "login", "password", "host", "schema", "port")


def tenant_connection(conn_id: str) -> TenantConnection:
    """The credentials in an Airflow connection of type `msgraph`, from any secrets backend.

    Raises UsageError, in words, when there is none, when a field is missing or a host is not one
    of Graph's.
    """
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    from outlook_lake.errors import UsageError
    from outlook_lake.tenants.credentials import parse_connection

    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise UsageError(
            f"no connection {conn_id!r} in Airflow: add it under Admin ▸ Connections (type "
            "Microsoft Graph), or take it out of the setting tenants.connections"
        ) from None
    fields = {name: getattr(connection, name) for name in CONNECTION_FIELDS}
    return parse_connection(conn_id, {**fields, "extra": connection.extra_dejson})
