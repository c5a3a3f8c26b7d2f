"""The lake: one atomic Parquet file per tenant and hour, the views over it, and its proofs.

manifest ─▶ export ─▶ lake/events/…/events.parquet ─▶ views: events · events_live · normalized
                                                   ─▶ verify (files)   ─▶ audit (journal)
"""
