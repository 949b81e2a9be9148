"""`python -m mlops_cli` is `mlo`."""

import sys

from mlops_cli.cli.main import main

sys.exit(main())
