"""`python -m lib`: the command `runbook`."""

import sys

from lib.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
