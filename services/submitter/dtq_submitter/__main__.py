"""``python -m dtq_submitter``."""

from __future__ import annotations

import sys

from dtq_submitter.main import main

sys.exit(main())
