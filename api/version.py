"""The version of the API, which every answer carries."""

VERSION = "1.0.0"
