"""Outlook Activity Lake: what happens in a company's mailboxes, as hourly Parquet.

Graph hints, we look, apply decides, the lake keeps. The rooms, in the direction of the data:

    receiver → hints → looks → events → lake
    subscriptions and tenants feed them, coverage proves them, state remembers
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
