"""The README says what the code does."""

import re
from pathlib import Path

from api.errors import RefusalCode
from contract.failures import FailureCode
from contract.job import JobOptions
from contract.stages import StageName
from contract.tracks import OutputFormat, Track
from scripts.settings_table import settings_table

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_table_of_settings_is_the_settings() -> None:
    text = README.read_text()
    table = re.search(r"<!-- settings -->\n(.*?)\n<!-- /settings -->", text, re.DOTALL)

    assert table is not None
    assert table[1] == settings_table(), "renew it with: python -m scripts.settings_table"


def test_every_code_option_track_and_stage_is_explained() -> None:
    text = README.read_text()
    words = [*RefusalCode, *FailureCode, *JobOptions.model_fields, *Track, *StageName, *OutputFormat]

    assert [word for word in words if f"`{word}`" not in text] == []
