"""The steps: what `outlook-lake run STEP` and the DAGs call, the same functions for both.

Each takes an opened `Application`, can be run twice, late or killed, and returns a small
dictionary of counts (no addresses, no ids of items).
"""

from outlook_lake.steps.catching_up import catch_up
from outlook_lake.steps.disconnecting import disconnect, disconnect_preview
from outlook_lake.steps.erasing import erase, erase_preview
from outlook_lake.steps.exporting import export
from outlook_lake.steps.maintaining import maintain
from outlook_lake.steps.priming import prime
from outlook_lake.steps.reprocessing import reprocess, reprocess_preview
from outlook_lake.steps.streaming import stream
from outlook_lake.steps.subscribing import subscriptions
from outlook_lake.steps.witnessing import witness

__all__ = [
    "catch_up",
    "disconnect",
    "disconnect_preview",
    "erase",
    "erase_preview",
    "export",
    "maintain",
    "prime",
    "reprocess",
    "reprocess_preview",
    "stream",
    "subscriptions",
    "witness",
]
