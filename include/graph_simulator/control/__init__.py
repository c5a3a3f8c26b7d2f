"""The control API under /simulator: the other side of the wire, for loopback only."""
