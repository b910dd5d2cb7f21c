"""A supervisor that cannot live is not started for ever."""

import os
from pathlib import Path
from typing import NoReturn

import pytest

from cais.diag.api import CaisError
from cais.paths import project_home
from cais.supervise.client import Client
from cais.supervise.daemon import prepare_home


async def dies(*_: object) -> NoReturn:
    os._exit(1)


def test_who_asks_for_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAIS_STATE", str(tmp_path))
    with pytest.raises(CaisError, match="ends at once"):
        Client.ensure("shop", dies)


def test_a_log_that_cannot_be_opened_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAIS_STATE", str(tmp_path))
    (prepare_home("shop") / "supervisor.log").mkdir()
    with pytest.raises(CaisError, match=r"supervisor\.log: is a directory"):
        Client.ensure("shop", dies)
    assert not (project_home("shop") / "control.sock").exists()
