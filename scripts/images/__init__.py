"""What the Dockerfiles run while an image is built, with Python's standard library alone."""
