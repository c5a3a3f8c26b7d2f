"""Rich notifications: the state Graph pushed, checked, decrypted and used instead of a look.

    hints/rich.take ─▶ tokens (who says so?) ─▶ opening (HMAC, then AES) ─▶ states (which one?)
                    ─▶ a row, sighting `rich` ─▶ apply: newer than what is known, or a look

Whatever is wrong with one is counted in the quarantine (stage `rich`) and its item is looked at.
"""
