"""``python -m dtq_worker``."""

import sys

from dtq.early import end_on_sigterm

if __name__ == "__main__":
    end_on_sigterm()
    from dtq_worker.main import main

    sys.exit(main())
