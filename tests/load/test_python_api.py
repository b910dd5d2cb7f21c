"""The examples of docs/python-api.md run as they stand."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs/python-api.md").read_text()


def test_every_example_of_the_page_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in re.findall(r"with `([^`]+)`:\n\n```yaml\n(.*?)```", PAGE, re.S):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    examples = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(examples) == 3
    exec("\n".join(examples), {})
