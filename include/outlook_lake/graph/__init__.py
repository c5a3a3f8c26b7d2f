"""Microsoft Graph over HTTP: token, paths, client, and the shapes of its answers.

The one rule: what is not on an allow-list is neither asked for (`resources`) nor decoded
(`messages`), and a bearer token leaves for the configured host only (`client`).

    auth (token) + resources (paths) → client (one request, one Answer) → messages (Structs)
"""
