"""What is measured and not tested, each against a baseline in the same run: `make benchmark`."""
