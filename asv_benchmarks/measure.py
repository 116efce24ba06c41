"""Measure every release of releases.txt in one sitting: python asv_benchmarks/measure.py [options of asv run]

Their rounds take turns, so that a machine that slows down slows all of them.
"""

import subprocess
import sys
import time

import history
import machine


def main():
    begun, name = time.time(), machine.register()
    commits = [commit for _, commit in history.releases()]
    config = str(history.FOLDER / "asv.conf.json")
    command = [sys.executable, "-m", "asv", "run", "--config", config, "--machine", name, "--interleave-rounds"]
    done = subprocess.run([*command, *sys.argv[1:], "HASHFILE:-"], input="\n".join(commits), text=True)
    if done.returncode:
        sys.exit(done.returncode)
    # Results from an environment with other versions of the peers are another history.
    for commit in commits:
        for path in (history.FOLDER / "results" / name).glob(f"{commit[:8]}-*.json"):
            if path.stat().st_mtime < begun:
                path.unlink()


if __name__ == "__main__":
    main()
