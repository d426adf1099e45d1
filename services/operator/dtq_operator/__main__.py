"""``python -m dtq_operator``."""

import sys

from dtq_operator.main import main

if __name__ == "__main__":
    sys.exit(main())
