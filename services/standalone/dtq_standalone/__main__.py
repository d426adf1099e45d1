"""``python -m dtq_standalone``."""

import sys

from dtq_standalone.main import main

if __name__ == "__main__":
    sys.exit(main())
