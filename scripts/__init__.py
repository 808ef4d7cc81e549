"""What a visitor runs through the Makefile."""
