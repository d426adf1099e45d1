"""``python -m dtq_scheduler``."""

import sys

from dtq_scheduler.main import main

if __name__ == "__main__":
    sys.exit(main())
