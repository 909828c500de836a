"""Files and folders are whole or absent, whatever happens while they are written."""

import errno
import os
import stat
from pathlib import Path

import pytest

from records.atomic import check_new_folder, check_parent, new_folder, write_figure, write_file
from serving.errors import RecordError


def listing(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def make_record(folder: Path, content: str = "old") -> None:
    folder.mkdir()
    (folder / "manifest.json").write_text('{"format": "servetwin.run/1"}')
    (folder / "data").write_text(content)


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_is_replaced(tmp_path: Path) -> None:
    place = tmp_path / "f"
    write_file(place, b"1")
    write_file(place, b"2")
    assert place.read_bytes() == b"2"
    assert listing(tmp_path) == ["f"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(place.stat().st_mode) == 0o666 & ~umask


def test_a_link_keeps_pointing_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"1")
    (tmp_path / "link").symlink_to("real")
    write_file(tmp_path / "link", b"2")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"2"


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "f"
    write_file(place, b"old")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(RecordError, match=r"cannot write .*f: No space left on device; what was there .* unchanged"):
        write_file(place, b"new")
    assert place.read_bytes() == b"old"
    assert listing(tmp_path) == ["f"]


def test_places_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="does not exist; create it first"):
        write_file(tmp_path / "no" / "f", b"")
    with pytest.raises(RecordError, match="is not a folder"):
        check_parent(tmp_path / "file" / "f")
    with pytest.raises(RecordError, match="it is a folder"):
        write_file(tmp_path, b"")
    with pytest.raises(RecordError, match="a file of this name is there"):
        check_new_folder(tmp_path / "file", force=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RecordError, match="no permission"):
        write_file(tmp_path / "f", b"")


def test_a_device_is_written_to_and_not_replaced() -> None:
    write_file(Path("/dev/null"), b"gone")
    assert not Path("/dev/null").is_file()


def test_a_figure_is_png_with_no_date(tmp_path: Path) -> None:
    class Figure:
        def savefig(self, fname, *, format, dpi, metadata) -> None:
            assert metadata == {"Software": None}
            fname.write(format.encode())

    write_figure(tmp_path / "f.png", Figure())
    assert (tmp_path / "f.png").read_bytes() == b"png"


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "run"
    with new_folder(target) as new:
        assert new.parent == tmp_path
        assert new.name == f"run.tmp-{os.getpid()}"
        (new / "data").write_text("1")
        assert not target.exists()
    assert listing(tmp_path) == ["run", "run/data"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with new_folder(tmp_path / "run") as new:
        (new / "data").touch()
    assert listing(tmp_path) == ["run", "run/data"]


def test_a_killed_run_with_the_same_process_id_is_not_in_the_way(tmp_path: Path) -> None:
    """In a container every run may have the same process id, and a killed one leaves its temporary folder."""
    left = tmp_path / f"run.tmp-{os.getpid()}"
    left.mkdir()
    with new_folder(tmp_path / "run") as new:
        (new / "data").touch()
    assert listing(tmp_path) == ["run", f"run.tmp-{os.getpid()}", "run/data"]


def test_what_is_there_is_kept_without_force_and_only_records_are_replaced_with_it(tmp_path: Path) -> None:
    make_record(tmp_path / "run")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "final.tex").touch()
    with (
        pytest.raises(RecordError, match="is not empty; give another folder, or --force"),
        new_folder(tmp_path / "run"),
    ):
        pass
    with pytest.raises(RecordError, match="not a run record"), new_folder(tmp_path / "thesis", force=True):
        pass
    assert listing(tmp_path) == ["run", "run/data", "run/manifest.json", "thesis", "thesis/final.tex"]
    with new_folder(tmp_path / "run", force=True) as new:
        assert (tmp_path / "run" / "data").read_text() == "old"
        (new / "data").write_text("new")
    assert (tmp_path / "run" / "data").read_text() == "new"
    assert listing(tmp_path) == ["run", "run/data", "thesis", "thesis/final.tex"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("force", [False, True])
def test_an_exception_inside_leaves_what_was_there(tmp_path: Path, error: type[BaseException], force: bool) -> None:
    if force:
        make_record(tmp_path / "run")
    before = listing(tmp_path)
    with pytest.raises(error):  # noqa: PT012, SIM117  (the exception must come from inside the block)
        with new_folder(tmp_path / "run", force) as new:
            (new / "half").touch()
            raise error
    assert listing(tmp_path) == before


def test_a_full_disk_inside_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="No space left"), new_folder(tmp_path / "run"):
        full_disk()
    assert listing(tmp_path) == []


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_a_failed_replacement_brings_the_old_record_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    make_record(tmp_path / "run")
    before, rename = listing(tmp_path), os.rename

    def fails_for_the_new_one(source: Path, target: Path) -> None:
        if ".tmp-" in source.name:
            raise error
        rename(source, target)

    monkeypatch.setattr(os, "rename", fails_for_the_new_one)
    with (
        pytest.raises(RecordError if isinstance(error, OSError) else KeyboardInterrupt),
        new_folder(tmp_path / "run", force=True) as new,
    ):
        (new / "data").write_text("new")
    assert listing(tmp_path) == before
    assert (tmp_path / "run" / "data").read_text() == "old"


def test_the_current_folder_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecordError, match="current folder"):
        check_new_folder(Path())
