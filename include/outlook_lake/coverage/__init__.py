"""Coverage: what is proven, what may be missing, and how it is repaired.

settle       gaps are opened by what went wrong and closed by proof; hours mature
receivers    was anybody there to take notifications?
witness      Graph's own counts against the inventory
reprocess    a window of the past, proven anew: request → preview → receipt
page         the figures of the Coverage page and of `outlook-lake coverage`
"""

from outlook_lake.coverage.settle import Settled, settle

__all__ = ["Settled", "settle"]
