"""Observations become events here, and only here; batches keep them, the manifest lists them."""
