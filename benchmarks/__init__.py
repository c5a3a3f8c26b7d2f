"""Measurements and drills: `make bench NAME=…`, `make drill NAME=…`.

Each module runs as `python -m benchmarks.<name>`, says how far it is on stderr, and ends with
one JSON line of figures on stdout.
"""
