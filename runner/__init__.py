"""One song, four stages, one exit code. Never imports `api` or a web framework."""
