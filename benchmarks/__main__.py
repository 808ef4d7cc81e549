"""Runs every benchmark and prints its table."""

from benchmarks import bundled, imports, kernels, listing, polling, song

if __name__ == "__main__":
    bundled.main()
    polling.main()
    listing.main()
    imports.main([])
    kernels.main([])
    song.main([])
