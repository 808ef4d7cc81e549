"""The endpoints, by theme: `system`, `jobs`, `downloads`."""
