"""What `outlook-lake` can do, one module per kind of work; `cli.py` puts them together."""
