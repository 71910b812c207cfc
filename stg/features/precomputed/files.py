"""Arrays by video from the files that people have: a folder of .npy or .npz, or one HDF5 file. Pickles are refused."""

import io
import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError
from types import MappingProxyType
from typing import IO, Any, Protocol, runtime_checkable

import numpy as np

from stg.runtime.errors import UserError
from stg.runtime.reading import file_id, normal_id, require_id
from stg.runtime.stamps import Stamp, stamp_of

MAX_BYTES = 2**30
"""Larger arrays are refused before they are read: a small archive can claim any size."""
MAX_AXES = 8
FREELY, MOST_PACKED = 128 * 2**20, 100
"""Bytes that any archive may unpack to, and beyond these how many times its own size."""
_HEADERS = MappingProxyType({(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0})
MALFORMED = (ValueError, SyntaxError, TokenError, RecursionError, MemoryError, TypeError, LookupError, ArithmeticError)
"""All that the header of a .npy, an expression of Python's, can end in."""


class UnusableFeatures(ValueError):
    """The features of one video cannot be used; the message names the file and the reason."""


@runtime_checkable
class FeatureSource(Protocol):
    """Arrays by video id, read one at a time."""

    def __iter__(self) -> Iterator[str]: ...

    def __len__(self) -> int: ...

    def __contains__(self, video: object) -> bool: ...

    def read(self, video: str) -> np.ndarray:
        """The array of one video, with the type it has on disk.

        Raises:
            UnusableFeatures: damaged, pickled, not numbers, or too large.
        """

    def file(self, video: str) -> Path:
        """Where that array lies."""

    def stamp(self, video: str) -> Stamp:
        """The stamp of that file; to be asked before it is read.

        Raises:
            UnusableFeatures: the file is gone.
        """

    def manifest(self) -> dict[str, Any]:
        """Name and key, never what lies there now: more videos may come, and contents are compared one by one."""

    def close(self) -> None: ...


def open_source(path: str | Path, key: str | None = None) -> FeatureSource:
    """A folder of one ``.npy`` a video (or, with ``key``, one ``.npz`` a video), or an HDF5 file.

    Args:
        path: the folder or the file.
        key: the member of each ``.npz``; in HDF5 where the data set of a video lies, by default ``{video}``.

    Raises:
        UserError: nothing there, nothing of that kind in it, an impossible id, or h5py is missing.
    """
    path = Path(path)
    try:
        folder = path.is_dir()
    except OSError as error:  # a name that is too long
        raise UserError(f"there are no features at {str(path)[:80]}: {error.strerror or error}") from error
    if folder:
        return FolderSource(path, key)
    if path.suffix.lower() in (".h5", ".hdf5") and path.is_file():
        return Hdf5Source(path, key or "{video}")
    if not path.exists():
        raise UserError(f"there are no features at {path}: give a folder of .npy or .npz files, or an HDF5 file")
    raise UserError(f"{path} is neither a folder of .npy or .npz files nor an .h5 or .hdf5 file")


class FolderSource:
    """One ``<id>.npy`` or ``<id>.npz`` a video; files whose names start with a dot do not count."""

    def __init__(self, path: Path, key: str | None = None) -> None:
        self.path, self.key = path, key
        suffix, other = (".npy", ".npz") if key is None else (".npz", ".npy")
        found = sorted(entry for entry in path.iterdir() if not entry.name.startswith(".") and entry.is_file())
        named = [(entry.name[: -len(suffix)], entry) for entry in found if entry.name.endswith(suffix)]
        self._files: dict[str, Path] = {}
        for name, entry in named:
            video = file_id(name)
            if self._files.setdefault(video, entry) is not entry:
                raise UserError(
                    f"{path} holds two files of video {video!r}, spelt unlike: {os.fsencode(name)!r} is one"
                )
        if not self._files:
            hint = f", but {other} files" if any(entry.name.endswith(other) for entry in found) else ""
            advice = "name the member with key" if other == ".npz" else "leave key out"
            raise UserError(f"the folder {path} holds no {suffix} files{hint and hint + ': ' + advice}")
        for video in self._files:
            require_id(video, str(path))

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, video: object) -> bool:
        return video in self._files

    def read(self, video: str) -> np.ndarray:
        """The array of one video."""
        path = self._files[video]
        try:
            with open(path, "rb") as file:
                if self.key is None:
                    return _read_npy(file, path.stat().st_size, str(path))
                return _read_member(file, f"{self.key}.npy", str(path))
        except OSError as error:
            raise UnusableFeatures(f"could not read {path}: {error.strerror or error}") from error

    def file(self, video: str) -> Path:
        """The file of one video."""
        return self._files[video]

    def stamp(self, video: str) -> Stamp:
        """The stamp of that file."""
        try:
            return stamp_of(self._files[video])
        except OSError as error:
            raise UnusableFeatures(f"could not read {self._files[video]}: {error.strerror or error}") from error

    def manifest(self) -> dict[str, Any]:
        """Name and key."""
        return {"name": self.path.name, "key": self.key}

    def close(self) -> None:
        """Nothing is held open."""


class Hdf5Source:
    """One data set a video in one HDF5 file, which must hold its own numbers: links out of it are refused.

    Args:
        path: the file.
        key: where the data set lies, with ``{video}`` as one whole name of the path: ``{video}``, ``feats/{video}``,
            ``{video}/i3d``.
    """

    def __init__(self, path: Path, key: str = "{video}") -> None:
        before, found, after = key.partition("{video}")
        self._before, self._after = before.strip("/"), after.strip("/")
        # An id as a part of a name is refused: where it begins and ends could not be seen.
        whole = (not before or before.endswith("/")) and (not after or after.startswith("/"))
        if not found or not whole or "{video}" in after:
            raise UserError(
                f"key of {path} must hold {{video}} once, as a whole name such as 'feats/{{video}}': {key!r}"
            )
        try:
            import h5py
        except ImportError as error:
            raise UserError(f"reading {path} needs h5py: install the extra 'hdf5'") from error
        self.path, self.key, self._h5py = path, key, h5py
        try:
            self._stamp = stamp_of(path)
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise UserError(_not_opened(path, error)) from error
        try:
            group = self._walk(self._file, self._before)
            names = sorted(str(name) for name in group) if isinstance(group, h5py.Group) else []
            listed = {normal_id(name): name for name in names}
            if len(listed) < len(names):
                raise UserError(f"{path} holds a video under two spellings of its name: keep one of them")
            if not names:
                raise UserError(f"{path} holds nothing at {self._before or '/'!r}: check key={key!r}")
            # Names become keys of the store, and parts of file names.
            for video in names:
                require_id(video, str(path))
        except (UnusableFeatures, RuntimeError, UnicodeError) as error:
            self.close()
            raise UserError(f"{path} holds no features at {self._before or '/'!r}: {error}") from error
        except UserError:
            self.close()
            raise
        # Listed once: asking the file for each video would walk it each time.
        self._group, self._videos = group, listed

    def __iter__(self) -> Iterator[str]:
        return iter(self._videos)

    def __len__(self) -> int:
        return len(self._videos)

    def __contains__(self, video: object) -> bool:
        return video in self._videos

    def read(self, video: str) -> np.ndarray:
        """The array of one video."""
        where = f"{self.path}, {video!r}"
        try:
            item = self._walk(self._walk(self._group, self._videos[video]), self._after)
            if not isinstance(item, self._h5py.Dataset) or item.shape is None:
                raise UnusableFeatures(f"{where}: there is no data set at {self.key!r}")
            # A file from elsewhere could otherwise bring any file of this machine into the store.
            if item.external or item.is_virtual:
                raise UnusableFeatures(f"{where}: its numbers lie in other files, which are not opened")
            _check_numbers(item.dtype, item.shape, where)
            # What was never written reads as zeros: a data set of any size takes no room in the file.
            _check_packed(math.prod(item.shape) * item.dtype.itemsize, item.id.get_storage_size(), where)
            return np.asarray(item[()])
        except (OSError, RuntimeError, KeyError, TypeError) as error:
            raise UnusableFeatures(f"{where} could not be read: {error}") from error

    def file(self, video: str) -> Path:
        """The one file."""
        return self.path

    def stamp(self, video: str) -> Stamp:
        """The stamp that the file had before it was opened."""
        return self._stamp

    def manifest(self) -> dict[str, Any]:
        """Name and key."""
        return {"name": self.path.name, "key": self.key}

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _walk(self, item: Any, names: str) -> Any:
        for name in filter(None, names.split("/")):
            if not isinstance(item, self._h5py.Group):
                raise UnusableFeatures(f"{self.path}: {name!r} is searched for in what is no group")
            link = item.get(name, getlink=True)
            if link is None:
                raise UnusableFeatures(f"{self.path} has no {name!r} in {item.name!r}")
            if not isinstance(link, self._h5py.HardLink):
                raise UnusableFeatures(f"{self.path}: {name!r} is a link to another place, which is not followed")
            item = item[name]
        return item


def _not_opened(path: Path, error: OSError) -> str:
    """Why an HDF5 file could not be opened. A writer locks it, and in newer versions of the format marks it too."""
    if isinstance(error, BlockingIOError):
        return f"{path} is being written by another process: wait until that ends, or close the file there"
    if "already open for write" in str(error):
        return (
            f"{path} is being written by another process, or one was killed while it wrote: wait until that ends, or "
            f"close the file there; if nobody has it open, `h5clear -s {path}` takes the mark away, and what was "
            "written last may be missing"
        )
    return f"{path} is not an HDF5 file, or a damaged one: {error}"


def _read_npy(stream: IO[bytes] | io.BufferedIOBase, size: int, where: str) -> np.ndarray:
    """One ``.npy`` of ``size`` bytes. Nothing in it is ever unpickled: only plain numbers are read."""
    if size > MAX_BYTES:  # before the header too, whose stated length may be anything
        raise UnusableFeatures(_too_large(where, size))
    start = b""
    try:
        start = stream.read(1)
        stream.seek(0)
        header = _HEADERS[np.lib.format.read_magic(stream)]
        # NumPy's own readers of headers, which evaluate literals only and never unpickle.
        shape, fortran, dtype = header(stream)
    except MALFORMED as error:
        if start == b"\x80":  # what every pickle of today begins with
            raise UnusableFeatures(_pickled(where)) from error
        raise UnusableFeatures(f"{where} is not a .npy file, or a damaged one: {str(error)[:200]}") from error
    _check_numbers(dtype, shape, where)
    # Compared before reading: a header may claim any shape.
    wanted, there = math.prod(shape) * dtype.itemsize, size - stream.tell()
    raw = stream.read(wanted) if wanted == there else b""
    if len(raw) != wanted:
        raise UnusableFeatures(f"{where} was cut or overwritten: {list(shape)} {dtype} are {wanted} bytes, not {there}")
    try:
        return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")
    except ValueError as error:  # no numbers, in a shape that NumPy cannot hold
        raise UnusableFeatures(f"{where} states the shape {list(shape)!r:.200}: {error}") from error


def _read_member(file: io.BufferedReader, member: str, where: str) -> np.ndarray:
    """One array of an ``.npz``, its stated size checked before anything is unpacked."""
    try:
        with zipfile.ZipFile(file) as archive:
            if member not in archive.namelist():
                there = ", ".join(name.removesuffix(".npy") for name in archive.namelist()[:5])
                raise UnusableFeatures(f"{where} has no array {member.removesuffix('.npy')!r}; it has {there}")
            # The size that the archive states is checked before anything is
            # unpacked: a small file may unpack to any size.
            info = archive.getinfo(member)
            check_unpacked(archive, where)
            with archive.open(info) as stream:
                return _read_npy(stream, info.file_size, where)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UnusableFeatures(f"{where} is not an .npz archive, or a damaged one: {error}") from error


def check_unpacked(archive: zipfile.ZipFile, where: str) -> None:
    """Refuse an archive that unpacks to far more than numbers do: a few kilobytes may hold gigabytes of zeros.

    Raises:
        UnusableFeatures: naming both sizes.
    """
    infos = archive.infolist()
    _check_packed(sum(info.file_size for info in infos), sum(info.compress_size for info in infos), where)


def _check_packed(unpacked: int, packed: int, where: str) -> None:
    if unpacked > max(FREELY, MOST_PACKED * packed):
        raise UnusableFeatures(f"{where} would unpack to {unpacked} bytes from {packed}: arrays of features do not")


def _check_numbers(dtype: np.dtype, shape: tuple[int, ...], where: str) -> None:
    if dtype.hasobject:
        raise UnusableFeatures(_pickled(where))
    if dtype.kind not in "fiu":
        raise UnusableFeatures(f"{where} holds {dtype}, expected numbers (floating point or integers)")
    if len(shape) > MAX_AXES or not all(type(length) is int and 0 <= length < 2**63 for length in shape):
        raise UnusableFeatures(f"{where} states the shape {list(shape)!r:.200}")
    if math.prod(shape) * dtype.itemsize > MAX_BYTES:
        raise UnusableFeatures(_too_large(where, math.prod(shape) * dtype.itemsize))


def _pickled(where: str) -> str:
    return (
        f"{where} holds pickled Python objects, which can run any code when they are opened and so never are: save "
        "plain numbers, np.save(name, array.astype('float32'))"
    )


def _too_large(where: str, size: int) -> str:
    return f"{where} would take {size} bytes, more than {MAX_BYTES}: an array of one video is smaller"
