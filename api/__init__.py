"""HTTP in, jobs out. Never imports torch or `runner`."""
