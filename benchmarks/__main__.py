"""Runs every benchmark and prints its table."""

from benchmarks import bundled, listing, polling

if __name__ == "__main__":
    bundled.main()
    polling.main()
    listing.main()
