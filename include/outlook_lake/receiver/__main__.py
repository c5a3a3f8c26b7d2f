"""`python -m outlook_lake.receiver [--host H] [--port P]`: the stand-alone receiver."""

from __future__ import annotations

import argparse
import sys

from outlook_lake.errors import OutlookLakeError
from outlook_lake.receiver.serve import serve
from outlook_lake.settings import Settings

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m outlook_lake.receiver", description=__doc__)
    parser.add_argument("--host", help="address to listen on (default: receiver.host)")
    parser.add_argument("--port", type=int, help="port to listen on (default: receiver.port)")
    wanted = parser.parse_args()
    try:
        serve(Settings.load(), wanted.host, wanted.port)
    except OutlookLakeError as error:
        sys.exit(f"outlook_lake.receiver: {error}")
