"""`python -m snowmap.cli`."""

import sys

from snowmap.cli import main

if __name__ == "__main__":
    sys.exit(main())
