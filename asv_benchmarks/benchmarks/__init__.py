"""asv's environments outlive a commit, and pip leaves compiled kernels behind: every commit has a cache of its own."""

import os

if os.environ.get("ASV_ENV_DIR"):
    os.environ["NUMBA_CACHE_DIR"] = os.path.join(
        os.environ["ASV_ENV_DIR"], "numba", os.environ.get("ASV_COMMIT", "existing")
    )
