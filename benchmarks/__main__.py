"""Runs every benchmark and prints its table."""

from benchmarks import polling

if __name__ == "__main__":
    polling.main()
