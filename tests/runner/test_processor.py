"""What a processor says of itself."""

from pathlib import Path

import pytest

from runner.processor import has_amx, has_avx512_bf16, is_of_intel, multiplies_bfloat16

ICE_LAKE = "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu avx512f avx512_vnni\n\nprocessor\t: 1\n"
SAPPHIRE_RAPIDS = "vendor_id\t: GenuineIntel\nflags\t\t: avx512f avx512_bf16 amx_bf16 amx_tile\n"
ZEN_4 = "vendor_id\t: AuthenticAMD\nflags\t\t: avx2 avx512_bf16\n"
GRAVITON = "processor\t: 0\nFeatures\t: fp asimd sve bf16 i8mm\n"


@pytest.mark.parametrize(
    ("text", "bfloat16", "avx512", "amx", "intel"),
    [
        (ICE_LAKE, False, False, False, True),
        (SAPPHIRE_RAPIDS, True, True, True, True),
        (ZEN_4, True, True, False, False),
        (GRAVITON, True, False, False, False),
        ("", False, False, False, False),
    ],
)
def test_it_is_known_by_linux_s_words(
    text: str, bfloat16: bool, avx512: bool, amx: bool, intel: bool, tmp_path: Path
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text)
    assert (multiplies_bfloat16(cpuinfo), has_avx512_bf16(cpuinfo)) == (bfloat16, avx512)
    assert (has_amx(cpuinfo), is_of_intel(cpuinfo)) == (amx, intel)


def test_without_such_a_file_nothing_is_assumed(tmp_path: Path) -> None:
    assert not multiplies_bfloat16(tmp_path / "none")
    assert not has_avx512_bf16(tmp_path / "none")
    assert not has_amx(tmp_path / "none")
    assert not is_of_intel(tmp_path / "none")
