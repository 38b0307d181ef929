"""`python -m understudy.cli`: the same as the console script."""

import sys

from understudy.cli import main

if __name__ == "__main__":
    sys.exit(main())
