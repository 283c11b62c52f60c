"""Runs the simulator by hand: prints one JSON line that says where everything listens."""

import sys
from pathlib import Path

# Started as a folder, Python looks into the folder itself; the package's files must be reached as
# `portal.*`, and nothing beside the folder may hide a module of the standard library.
sys.path.pop(0)
sys.path.append(str(Path(__file__).resolve().parent.parent))

from portal.cli import main  # noqa: E402

sys.exit(main())
