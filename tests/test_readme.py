"""The Japanese README says what the English one says: the same commands and exit codes."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGLISH, JAPANESE = ((ROOT / name).read_text("utf-8") for name in ("README.md", "README.ja.md"))


def commands(text: str) -> list[str]:
    """Return the lines of the shell blocks, without their comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.S | re.M)
    return [re.sub(r"\s+#.*", "", line) for block in blocks for line in block.splitlines()]


def exit_codes(text: str) -> list[str]:
    """Return the first column of the table of exit codes."""
    return re.findall(r"^\| ((?:\d+, )*\d+) \|", text, re.M)


def test_every_command_of_the_japanese_readme_is_one_of_the_english_one():
    assert len(commands(JAPANESE)) >= 5
    assert set(commands(JAPANESE)) <= set(commands(ENGLISH))


def test_both_readmes_list_the_same_exit_codes():
    assert exit_codes(JAPANESE) == exit_codes(ENGLISH) != []


@pytest.mark.parametrize("text", [ENGLISH, JAPANESE])
def test_the_files_that_a_readme_links_to_exist(text):
    links = [link for link in re.findall(r"\]\(([^)#:]+)\)", text) if link]
    assert links and [link for link in links if not (ROOT / link).exists()] == []
