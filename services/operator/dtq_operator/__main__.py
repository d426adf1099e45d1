"""``python -m dtq_operator``."""

import sys

from dtq.early import end_on_sigterm

if __name__ == "__main__":
    end_on_sigterm()
    from dtq_operator.main import main

    sys.exit(main())
