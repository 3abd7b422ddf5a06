"""`python -m banguard` starts the server."""

import sys

from banguard.cli.server import main

sys.exit(main())
