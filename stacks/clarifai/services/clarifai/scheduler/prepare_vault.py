"""`python -m clarifai.scheduler.prepare_vault`: makes the vault's `daily` folder, once, as root.

The vault belongs to the person who writes it, the scheduler runs as a user of its own and writes one folder there.
The folder belongs to the vault's owner and to the scheduler's group: both may write, neither owns the other's files.
"""

import os
import sys
from pathlib import Path

from clarifai.environment import number, setting
from clarifai.scheduler.summary import FOLDER


def prepare(vault: Path, group: int) -> str:
    folder = vault / FOLDER
    folder.mkdir(exist_ok=True)
    try:
        os.chown(folder, vault.stat().st_uid, group)
        folder.chmod(0o2775)
    except OSError as error:
        # In a user namespace with one user there is nobody to give it to, and nobody else who would write.
        return f"{folder} left as it is: {error.strerror}"
    return f"{folder} belongs to user {vault.stat().st_uid} and group {group}"


if __name__ == "__main__":
    try:
        print(prepare(Path(setting("VAULT_PATH", "/vault")), int(number("VAULT_GID", 10001))))
    except OSError as error:
        sys.exit(f"cannot make the folder for daily summaries: {error}")
