"""``python -m dtq_submitter``."""

import sys

from dtq.early import end_on_sigterm

if __name__ == "__main__":
    end_on_sigterm()
    from dtq_submitter.main import main

    sys.exit(main())
