"""``python -m dtq_worker``."""

import sys

from dtq_worker.main import main

if __name__ == "__main__":
    sys.exit(main())
