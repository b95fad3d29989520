"""Under which name a process decides."""

import socket
from pathlib import Path

from longwave.ops.scaling import owner


def test_a_folder_keeps_its_owner_and_one_copied_from_another_machine_gets_its_own(tmp_path: Path) -> None:
    first = owner.of(tmp_path)
    assert owner.of(tmp_path) == first
    assert first.startswith(socket.gethostname()[:60])
    (tmp_path / "owner").write_text("elsewhere:0123")
    assert owner.of(tmp_path) not in (first, "elsewhere:0123")
