"""The base of everything that is written down: immutable, and strict about unknown fields."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen pydantic model that refuses fields it does not know, so that a typo is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_json(self) -> bytes:
        """The record as compact UTF-8 JSON."""
        return self.model_dump_json().encode()
