"""`python -m outlook_lake.demo`, what `make demo` runs."""

import sys

from outlook_lake.demo import main

sys.exit(main())
