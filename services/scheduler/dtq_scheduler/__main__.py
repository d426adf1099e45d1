"""``python -m dtq_scheduler``."""

import sys

from dtq.early import end_on_sigterm

if __name__ == "__main__":
    end_on_sigterm()
    from dtq_scheduler.main import main

    sys.exit(main())
