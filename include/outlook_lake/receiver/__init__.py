"""The webhook: check, strip to an allow-list, make durable, answer 202.

    POST ─▶ app ─▶ sifting (typed decode, proof, allow-list) ─▶ committer (one thread:
            write + fdatasync) ─▶ 202        └─▶ quarantine (counts, never content)

One rule above all: 202 leaves only after the disk holds every notification it stands for.
A receiver knows no database; it needs a folder, a key file and a clock.
"""

from __future__ import annotations
