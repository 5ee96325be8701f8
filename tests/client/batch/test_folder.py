"""The folder of a job: where it is, who may use it, and when it goes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from passthrough.client.batch.folder import LINES, NAME, PARTS, claim, home_of, read_order, resume_command
from passthrough.client.batch.state import BatchState, Phase
from passthrough.client.errors import ClientError
from tests.client.batch.test_state import ORDERS, STATES
from tests.harness.rights import let_all_in, ordinary_user


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree of documents, in which the command is run."""
    monkeypatch.chdir(tmp_path)
    for path in ("scans/2024/a.pdf", "scans/2024/b[1].pdf", "scans/2025/c.pdf", "more/d.pdf"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ([], "."),
        (["-", "https://h/x/y.pdf"], "."),
        (["scans"], "scans"),
        (["scans/"], "scans"),
        (["scans/2024/a.pdf"], "scans/2024"),
        (["scans/2024/a.pdf", "scans/2025/c.pdf", "-"], "scans"),
        (["scans", "more/d.pdf"], "."),
        (["scans/*/*.pdf"], "scans"),
        (["scans/**/*.pdf", "scans/2024"], "scans"),
        (["scans/202?/c.pdf"], "scans"),
        (["scans/2024/b[1].pdf"], "scans/2024"),
        (["scans/gone.pdf"], "scans"),
        (["*.pdf"], "."),
    ],
)
def test_a_job_is_kept_with_what_it_is_of(tmp_path: Path, inputs: list[str], expected: str) -> None:
    """In the deepest folder of all inputs, so that the same arguments find it again."""
    assert tmp_path / expected == home_of(None, inputs)
    assert tmp_path / "out" == home_of(Path("out"), inputs)


def test_the_command_to_go_on_finds_the_job_from_where_it_is_typed(tmp_path: Path) -> None:
    """It names no folder in the folder itself."""
    assert "passthrough ocr --batch --resume" == resume_command(home_of(None, []))
    assert f"passthrough ocr --batch --resume {tmp_path}/scans" == resume_command(home_of(None, ["scans"]))
    assert f"passthrough ocr --batch --resume '{tmp_path}/a b'" == resume_command(home_of(Path("a b"), []))
    elsewhere = "passthrough ocr --batch --resume --base-url https://api.mistral.ai"
    assert elsewhere == resume_command(home_of(None, []), "https://api.mistral.ai")


def test_what_is_saved_is_found_again(tmp_path: Path) -> None:
    """By the next run, as long as there is a state; only this user may read it."""
    with claim(tmp_path / "new/out") as folder:
        assert (None, None) == (folder.state(), read_order(folder.home))
        folder.save_order(ORDERS[0])
        folder.save(STATES[0])
        folder.save(STATES[1])
    assert 0o700 == stat.S_IMODE((tmp_path / "new/out" / NAME).stat().st_mode)
    with claim(tmp_path / "new/out") as folder:
        assert (STATES[1], ORDERS[0]) == (folder.state(), read_order(folder.home))


def test_without_a_job_nothing_stays(tmp_path: Path) -> None:
    """Neither of one that was forgotten, nor of one that never was."""
    with claim(tmp_path) as folder:
        folder.save(STATES[0])
        folder.save_order(ORDERS[0])
        (folder.path / PARTS / "0").mkdir(parents=True)
        (folder.path / PARTS / "0/part-0.pdf").touch()
        (folder.path / LINES.format(0)).touch()
        folder.empty()
        assert (None, ["lock"]) == (folder.state(), os.listdir(folder.path))
    assert not (tmp_path / NAME).exists()


def test_what_is_uploaded_is_removed(tmp_path: Path) -> None:
    """The state, the order and the lock stay."""
    with claim(tmp_path) as folder:
        folder.save(STATES[0])
        folder.save_order(ORDERS[0])
        (folder.path / PARTS / "0").mkdir(parents=True)
        for number in (0, 10):
            (folder.path / LINES.format(number)).touch()
        folder.remove_sources()
        assert ["lock", "order.json", "state.json"] == sorted(os.listdir(folder.path))


def test_one_run_at_a_time(tmp_path: Path) -> None:
    """A second one is told so, and takes nothing away; after the first one's end it may."""
    with claim(tmp_path) as folder:
        folder.save(STATES[0])
        with pytest.raises(ClientError, match="another run is at work on the batch here"), claim(tmp_path):
            pass
        assert STATES[0] == folder.state()
    with claim(tmp_path) as folder:
        assert Phase.PREPARING == (folder.state() or BatchState("")).phase


@pytest.mark.parametrize("name", ["state.json", "order.json"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    """It may be all that is known of a job: it is never taken for none."""
    with claim(tmp_path) as folder:
        folder.save(STATES[0])
        (folder.path / name).write_text('{"version": 2}')
        with pytest.raises(ClientError, match=rf"{name} cannot be read: (?s:.*)Remove the folder to order again"):
            _ = folder.state(), read_order(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file is in its place; or the disk fails later."""
    (tmp_path / "file").touch()
    with pytest.raises(ClientError, match="no batch can be kept here: Not a directory"), claim(tmp_path / "file"):
        pass
    with pytest.raises(ClientError, match="the batch cannot be kept here: No space left"), claim(tmp_path):
        raise OSError(28, "No space left on device")


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    """With what helps."""
    let_all_in(tmp_path)
    message = r"Permission denied(?s:.*)Name a folder with -o"
    with ordinary_user(), pytest.raises(ClientError, match=message), claim(tmp_path):
        pass
