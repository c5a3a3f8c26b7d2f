"""Notifications: made when Graph sees a change, sent in batches, tried again for four hours."""
