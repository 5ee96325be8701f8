"""Outputs are renamed into place: what may be replaced, what may not, and what is there when the process ends at any step."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from passthrough.client.errors import DocumentError
from passthrough.client.output.manifest import Manifest
from passthrough.client.output.names import MANIFEST
from passthrough.client.output.place import Place
from passthrough.client.output.publish import publish, refuse_foreign
from passthrough.client.output.work_folder import claim
from tests.harness.disks import filled, read_only, small_disk
from tests.harness.published import done, done_and_killed, render, versions
from tests.harness.rights import let_all_in, ordinary_user

STEPS = [
    "rendered",
    "noted",
    "folder",
    "moved a_images/same.png",
    "moved a_images/only-new.png",
    "moved a.md",
    "moved a.html",
    "removed",
    "written",
]
"""The steps of publishing the version `new`, in their order."""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A place in an empty folder."""
    return Place(tmp_path / "out", "a", "a.pdf")


def texts(folder: Path) -> dict[str, str]:
    """Return the files below a folder with their texts, without the manifest."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST}
    return {name: path.read_text() for name, path in found.items()}


def outputs(folder: Path) -> dict[str, str]:
    """Return those of them that are not in a hidden folder."""
    return {name: text for name, text in texts(folder).items() if not name.startswith(".")}


def test_outputs_are_put_into_place(place: Place) -> None:
    """The folder is made; the files beside the document are returned, the pictures not; nothing hidden stays but the manifest."""
    with claim(place) as work:
        work.prepare("1", "options")
        names = render(work, versions("new"))
        assert (place.folder / "a.md", place.folder / "a.html") == publish(work, names, overwrite=False)
    assert versions("new") == texts(place.folder)
    assert Manifest.of(place.folder).finished("a.pdf", "1", "options")
    assert {"a.md", "a.html", "a_images", MANIFEST} == {path.name for path in place.folder.iterdir()}


def test_the_steps_are_those_at_which_the_others_are_killed(place: Place) -> None:
    """The table of steps is whole."""
    steps: list[str] = []
    done(place, versions("new"), "new", step=steps.append)
    assert STEPS == steps


@pytest.mark.process
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "again"])
def test_a_kill_at_any_step_leaves_whole_files_and_the_next_run_goes_on_without_a_call(
    place: Place, step: str, is_first: bool
) -> None:
    """Each file is the old one or the new one; what was paid for is used, and nothing of the killed run stays."""
    old = {} if is_first else versions("old")
    if not is_first:
        done(place, old, "old")
    done_and_killed(place.folder, "new", step)
    new = versions("new")
    assert [] == [name for name, text in outputs(place.folder).items() if text not in {old.get(name), new.get(name)}]
    assert old.keys() & new.keys() <= outputs(place.folder).keys()
    is_finished = Manifest.of(place.folder).finished("a.pdf", "new", "options")
    assert (step == "written") is is_finished
    if not is_finished:
        assert 0 == done(place, new, "new")
    assert new == outputs(place.folder)
    assert Manifest.of(place.folder).finished("a.pdf", "new", "options")
    assert is_finished or outputs(place.folder) == texts(place.folder)


@pytest.mark.process
@pytest.mark.parametrize("step", STEPS)
def test_after_a_kill_another_version_replaces_the_mixture(place: Place, step: str) -> None:
    """What the killed run left is known as written by this command, also where the document has changed since."""
    done(place, versions("old"), "old")
    done_and_killed(place.folder, "new", step)
    assert 1 == done(place, versions("third"), "third")
    assert versions("third") == texts(place.folder)


@pytest.mark.process
def test_a_killed_run_that_had_published_leaves_nothing_for_the_next_one(place: Place) -> None:
    """Its responses are not used again where the document is done once more: that is a new call."""
    done_and_killed(place.folder, "new", "written")
    assert 1 == done(place, versions("new"), "new", overwrite=True)


@pytest.mark.parametrize("name", ["a.md", "a.html", "a_images/same.png"])
@pytest.mark.parametrize("kind", ["foreign", "edited", "a link", "a pipe"])
def test_what_is_not_as_this_command_wrote_it_stays(place: Place, tmp_path: Path, name: str, kind: str) -> None:
    """It is refused, and nothing at all is replaced; with --overwrite it is, and a link is never followed."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = place.folder / name
    if kind == "edited":
        done(place, versions("old"), "old")
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "a link":
        path.symlink_to(victim)
    elif kind == "a pipe":
        os.mkfifo(path)
    else:
        path.write_text("precious")
    before = outputs(place.folder)
    with pytest.raises(DocumentError, match="changed since" if kind == "edited" else "not of this command") as refused:
        done(place, versions("new"), "new")
    assert "Write over it (--overwrite), or name another folder (-o DIR)." == refused.value.hint
    assert before == outputs(place.folder)
    assert 0 == done(place, versions("new"), "new", overwrite=True)
    assert versions("new") == texts(place.folder)
    assert "precious" == victim.read_text()


@pytest.mark.parametrize("kind", ["foreign", "edited", "a link", "a folder", "a link for pictures", "a file for pictures"])
def test_it_is_refused_before_anything_is_paid_for(place: Place, kind: str) -> None:
    """What publishing would refuse is found as soon as the place is claimed."""
    if kind == "edited":
        done(place, versions("old"), "old")
    place.folder.mkdir(exist_ok=True)
    name = "a_images" if "pictures" in kind else "a.md"
    if "link" in kind:
        (place.folder / name).symlink_to(place.folder)
    elif kind == "a folder":
        (place.folder / name).mkdir()
    else:
        (place.folder / name).write_text("precious")
    with claim(place) as work:
        work.prepare("new", "options")
        refuse_foreign(work, [".txt", ".json"] if "pictures" not in kind else [], overwrite=True) if "file" not in kind else None
        with pytest.raises(DocumentError):
            refuse_foreign(work, [".txt", ".md"], overwrite=False)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("a.md", "a.md is a folder"),
        ("a_images", "a_images is a file where the folder"),
        ("a_images/same.png", "same.png is a folder"),
    ],
)
def test_a_folder_and_a_file_are_never_exchanged(place: Place, kind: str, why: str) -> None:
    """A folder may hold anything: it stays with --overwrite, too."""
    path = place.folder / kind
    if kind == "a_images":
        path.parent.mkdir()
        path.write_text("precious")
    else:
        path.mkdir(parents=True)
        (path / "mine").write_text("precious")
    before = outputs(place.folder)
    with pytest.raises(DocumentError, match=why):
        done(place, versions("new"), "new", overwrite=True)
    assert before == outputs(place.folder)


def test_a_link_in_the_place_of_the_pictures_is_replaced_and_not_followed(place: Place, tmp_path: Path) -> None:
    """Nothing is written into the folder that it leads to, and nothing there is removed."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "same.png").write_text("precious")
    place.folder.mkdir()
    (place.folder / "a_images").symlink_to(elsewhere)
    with pytest.raises(DocumentError, match="a_images is a symbolic link"):
        done(place, versions("new"), "new")
    done(place, versions("new"), "new", overwrite=True)
    assert {"same.png": "precious"} == outputs(elsewhere)
    assert versions("new") == texts(place.folder)
    assert not (place.folder / "a_images").is_symlink()


def test_a_link_that_took_the_place_of_our_pictures_keeps_what_it_leads_to(place: Place, tmp_path: Path) -> None:
    """A version without pictures removes those of the version before, but none behind a link."""
    done(place, versions("old"), "old")
    (place.folder / "a_images").rename(tmp_path / "moved")
    (place.folder / "a_images").symlink_to(tmp_path / "moved")
    done(place, {"a.md": "no pictures"}, "new", overwrite=True)
    assert 2 == len(outputs(tmp_path / "moved"))


def test_pictures_that_are_no_longer_there_go_and_a_persons_own_stay(place: Place) -> None:
    """A picture of the version before goes, unless it was edited; what this command did not write is left alone."""
    done(place, versions("old") | {"a_images/edited.png": "old"}, "old")
    (place.folder / "a_images/mine.txt").write_text("mine")
    (place.folder / "a_images/edited.png").write_text("edited")
    done(place, versions("new"), "new")
    assert versions("new") | {"a_images/mine.txt": "mine", "a_images/edited.png": "edited"} == texts(place.folder)


def test_a_version_without_pictures_leaves_no_empty_folder(place: Place) -> None:
    """The folder of pictures goes with the last of them; outputs of other formats stay."""
    done(place, versions("old"), "old")
    done(place, {"a.md": "no pictures"}, "new")
    assert {"a.md": "no pictures", "a.html": "page of old"} == texts(place.folder)
    assert not (place.folder / "a_images").exists()


@pytest.mark.parametrize("name", ["../a.md", "b.md", "a_images/../../x", "/tmp/x", "a_images/x/y.png", "a.md\0", "a.exe"])
def test_a_name_that_is_no_outputs_is_refused(place: Place, name: str) -> None:
    """Whatever the response says: nothing is written outside the place."""
    with claim(place) as work:
        work.prepare("1", "options")
        with pytest.raises(DocumentError, match="is no name of an output"):
            publish(work, [name], overwrite=True)


def test_a_link_among_what_was_rendered_is_refused(place: Place) -> None:
    """Only regular files are published."""
    with claim(place) as work:
        work.prepare("1", "options")
        (work.outputs / "a.md").symlink_to("/etc/passwd")
        with pytest.raises(DocumentError, match=r"a\.md is no name of an output"):
            publish(work, ["a.md"], overwrite=True)


def test_a_folder_name_that_is_a_link_is_followed(tmp_path: Path) -> None:
    """A user may keep the outputs elsewhere: `-o` may name a link to a folder."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    done(Place(tmp_path / "link/sub", "a", "a.pdf"), versions("new"), "new")
    assert versions("new") == texts(tmp_path / "real/sub")


@pytest.mark.parametrize(
    ("folder", "why", "hint"),
    [
        ("file/out", "Not a directory", "A file is where a folder is to be"),
        ("file", "File exists", "A file is where a folder is to be"),
        ("x" * 300, "File name too long", "Name a folder with a shorter path"),
        ("nowhere/out", "File exists", "A file is where a folder is to be"),
    ],
)
def test_a_folder_that_cannot_be_made_is_named_with_its_cause(tmp_path: Path, folder: str, why: str, hint: str) -> None:
    """A file or a dead link is where the folder is to be, or its name is too long."""
    (tmp_path / "file").write_text("precious")
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    with pytest.raises(DocumentError, match=why) as failed:
        claim(Place(tmp_path / folder, "a", "a.pdf"))
    assert hint in failed.value.hint
    assert not failed.value.ends_run


@pytest.mark.faults
def test_a_disk_that_is_full_or_read_only_is_said_and_nothing_paid_for_is_lost(tmp_path: Path) -> None:
    """A full disk ends the run, and the outputs before stay as they are; once there is room, the next run needs no call."""
    disk = tmp_path / "disk"
    with small_disk(disk):
        place = Place(disk / "out", "a", "a.pdf")
        done(place, versions("old"), "old")
        work = claim(place)
        work.prepare("new", "options")
        work.response_path(0).write_text("{}")
        names = render(work, versions("new"))
        filler = filled(disk)
        with pytest.raises(DocumentError, match="No space left") as failed:
            publish(work, names, overwrite=False)
        assert failed.value.ends_run
        work.release()
        assert versions("old") == outputs(place.folder)
        filler.unlink()
        filler = filled(disk)  # once more: the release made room
        with pytest.raises(DocumentError, match="No space left"), claim(Place(disk / "new", "b", "b.pdf")) as work:
            work.prepare("1", "options")
        filler.unlink()
        assert 0 == done(place, versions("new"), "new")
        with read_only(disk), pytest.raises(DocumentError, match="Read-only") as failed:
            claim(Place(disk / "other", "b", "b.pdf"))
        assert "Name a folder that can be written (-o DIR)." == failed.value.hint
        shutil.rmtree(disk, ignore_errors=True)


def test_further_outputs_of_a_finished_document_leave_it_finished(place: Place) -> None:
    """Another format is added: the pictures of those before stay, and the document is finished as it was."""
    done(place, versions("old"), "old")
    with claim(place) as work:
        work.prepare("of the response", "other options")
        publish(work, render(work, {"a.txt": "words"}), overwrite=False, adds=True)
    assert versions("old") | {"a.txt": "words"} == texts(place.folder)
    line = Manifest.of(place.folder).line("a.pdf")
    assert line is not None
    assert ("old", "options", {*versions("old"), "a.txt"}) == (line.sha256, line.fingerprint, {*line.outputs})


def test_outputs_are_added_to_a_document_without_a_line(place: Place) -> None:
    """It gets one."""
    with claim(place) as work:
        work.prepare("1", "options")
        publish(work, render(work, {"a.txt": "words"}), overwrite=False, adds=True)
    assert Manifest.of(place.folder).finished("a.pdf", "1", "options")


@pytest.mark.faults
def test_a_folder_that_this_user_may_not_write_in_is_named(tmp_path: Path) -> None:
    """Before anything is paid for, and where rights went meanwhile, before anything is replaced."""
    let_all_in(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "closed").mkdir(mode=0o555)
    (tmp_path / "out").chmod(0o777)
    with ordinary_user():
        with pytest.raises(DocumentError, match="Permission denied") as refused:
            claim(Place(tmp_path / "closed", "a", "a.pdf"))
        assert "Let this user write there, or name another folder (-o DIR)." == refused.value.hint
        done(Place(tmp_path / "out", "a", "a.pdf"), versions("old"), "old")
        (tmp_path / "out/a_images").chmod(0o555)
        with pytest.raises(DocumentError, match="Permission denied"):
            done(Place(tmp_path / "out", "a", "a.pdf"), versions("new"), "new")
        assert versions("old") == outputs(tmp_path / "out")
        (tmp_path / "out/a_images").chmod(0o755)
        assert 0 == done(Place(tmp_path / "out", "a", "a.pdf"), versions("new"), "new")
