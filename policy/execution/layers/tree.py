"""What each entry of a layer does to the file system it is laid down in.

The rules are the reference's (hcsshim ext4/tar2ext4, ext4/internal/compactext4), refusals too: an
entry that it cannot place has no root, so it has none here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from sealserve.native.layer_run import lay_files
from sealserve.native.tar import Header, split_path
from sealserve.policy.execution.layers import extents, inodes, tar
from sealserve.policy.execution.layers.blocks import Blocks
from sealserve.policy.execution.layers.content import Content
from sealserve.policy.execution.layers.inodes import Inodes
from sealserve.policy.execution.layers.limits import (
    MAX_COMPONENT_BYTES,
    MAX_INODES,
    MAX_LINKS,
    MAX_PATH_BYTES,
)
from sealserve.policy.execution.layers.refused import RefusedError, shown

# OCI image-spec 1.1, layer.md, "Whiteouts"; overlayfs reads what they become.
_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_OPAQUE_ATTRIBUTE = {b"trusted.overlay.opaque": b"y"}

_TYPES = {
    tar.SYMLINK: inodes.SYMLINK,
    tar.CHARACTER: inodes.CHARACTER,
    tar.BLOCK: inodes.BLOCK,
    tar.FOLDER: inodes.FOLDER,
    tar.FIFO: inodes.FIFO,
}  # every other one is a file
_PERMISSIONS = 0o7777
_SHORT_LINK_BYTES = 59  # longer targets have a block of their own
_DEVICE = struct.Struct("<4xI")


@dataclass(slots=True)
class Folder:
    """children: by name, a folder or the number of what is none."""

    number: int
    children: dict[bytes, Folder | int] = field(default_factory=dict)


class Tree:
    """Takes entries in their order. What it knows in the end are `root`, `folders` and `inodes`."""

    def __init__(self, blocks: Blocks, content: Content) -> None:
        self._blocks = blocks
        self._content = content
        self.inodes = Inodes(blocks)
        self.root = Folder(inodes.ROOT)
        self.folders = [self.root]
        self.inodes.write(inodes.ROOT, Header(), inodes.FOLDER | 0o755, links=2)
        self._new_folder(self.root, b"lost+found", Header(), inodes.FOLDER | 0o700)
        self._last_path, self._last_folder = b"", self.root

    def add(self, entry: Header) -> None:
        """Lay down one entry. Raises RefusedError."""
        path, name = split_path(entry.name)
        folder = self._last_folder if path == self._last_path else self._folder(path, entry)
        if _WHITEOUT in entry.name and self._white_out(entry):
            return
        if entry.kind == tar.LINK:
            self._link(folder, name, entry)
        else:
            self._create(folder, name, entry)

    def add_files(self, tar_bytes: memoryview, folder: bytes) -> int:
        """Lay down plain files that stand in the folder of the last entry, while they do.

        folder: what that entry's name had in front. Returns how many bytes of the tar they are.
        """
        inodes = self.inodes
        done, used, made = lay_files(
            *(tar_bytes, *self._blocks.room, self._blocks.next, folder),
            *(self._last_folder.children, inodes.count + 1, MAX_INODES - inodes.count),
        )
        self._blocks.filled(used)
        inodes.append(made)
        return done

    def _folder(self, path: bytes, entry: Header) -> Folder:
        """The folder of this path, made where it is missing."""
        if len(entry.name) > MAX_PATH_BYTES:
            raise RefusedError(f"a path of {len(entry.name)} bytes; at most {MAX_PATH_BYTES}")
        folder = self.root
        for name in path.split(b"/") if path else ():
            child = folder.children.get(name)
            if child is None:
                child = self._make_parent(folder, name)
            elif isinstance(child, int):
                raise RefusedError(f"{shown(name)} on its path is not a folder")
            folder = child
        self._last_path, self._last_folder = path, folder
        return folder

    def _make_parent(self, folder: Folder, name: bytes) -> Folder:
        """A folder that has no entry yet gets owner, mode and times of the one it is in."""
        about = self.inodes.about(folder.number)
        return self._new_folder(folder, name, about, self.inodes.mode(folder.number))

    def _white_out(self, entry: Header) -> bool:
        """Whether the entry takes something away instead of adding it.

        The name is what stands behind the last slash as it is written.
        """
        path, slash, name = entry.name.rpartition(b"/")
        if not name.startswith(_WHITEOUT):
            return False
        if name == _OPAQUE:
            self._make_opaque(path)
        else:
            gone = split_path(path + slash + name.removeprefix(_WHITEOUT))
            self._create(self._existing(gone[0]), gone[1], Header(kind=tar.CHARACTER))
        return True

    def _make_opaque(self, path: bytes) -> None:
        parent, name = split_path(path)
        there = self._there(self._existing(parent), name)
        if not isinstance(there, Folder):
            raise RefusedError("what it is in is not a folder")
        about = self.inodes.about(there.number)
        about.attributes = {**self.inodes.attributes(there.number), **_OPAQUE_ATTRIBUTE}
        self._rewrite_folder(there, about, about.mode)

    def _existing(self, path: bytes) -> Folder:
        """The folder of a path whose parts are there."""
        found: Folder | int | None = self.root
        for name in path.split(b"/") if path else ():
            found = found.children.get(name) if isinstance(found, Folder) else None
        if not isinstance(found, Folder):
            raise RefusedError(f"there is no folder {shown(path)}")
        return found

    def _create(self, folder: Folder, name: bytes, entry: Header) -> None:
        mode = entry.mode & _PERMISSIONS | _TYPES.get(entry.kind, inodes.FILE)
        there = self._there(folder, name)
        if mode & inodes.TYPE == inodes.FOLDER:
            self._create_folder(folder, name, there, entry, mode)
        elif isinstance(there, Folder):
            raise RefusedError("a folder is there already, which nothing else replaces")
        elif there is None:
            folder.children[name] = number = self.inodes.new()
            self._fill(number, entry, mode)
        elif self.inodes.links(there) < 2:
            if self.inodes.has_data(there):
                raise RefusedError("the same file again, which has data already")
            self._fill(there, entry, mode)
        else:
            self.inodes.add_links(there, -1)
            folder.children[name] = number = self.inodes.new()
            self._fill(number, entry, mode)

    def _there(self, folder: Folder, name: bytes) -> Folder | int | None:
        """What has this name now. Raises RefusedError for names that no file has."""
        if not name:
            return self.root
        if len(name) > MAX_COMPONENT_BYTES:
            raise RefusedError(f"a name of {len(name)} bytes; at most {MAX_COMPONENT_BYTES}")
        return folder.children.get(name)

    def _create_folder(
        self, folder: Folder, name: bytes, there: Folder | int | None, about: Header, mode: int
    ) -> None:
        if there is None:
            self._new_folder(folder, name, about, mode)
        elif isinstance(there, Folder):
            self._rewrite_folder(there, about, mode)
        else:
            raise RefusedError("something else is there already, which a folder does not replace")

    def _new_folder(self, folder: Folder, name: bytes, about: Header, mode: int) -> Folder:
        self._there(folder, name)
        if self.inodes.links(folder.number) >= MAX_LINKS:
            raise RefusedError(f"more than {MAX_LINKS} folders in one")
        made = Folder(self.inodes.new())
        self.inodes.write(made.number, about, mode, links=2)
        self.inodes.add_links(folder.number, 1)
        folder.children[name] = made
        self.folders.append(made)
        return made

    def _rewrite_folder(self, there: Folder, about: Header, mode: int) -> None:
        self.inodes.write(there.number, about, mode, links=self.inodes.links(there.number))

    def _fill(self, number: int, entry: Header, mode: int) -> None:
        """Write an inode that has one name, and the data behind it."""
        kind = mode & inodes.TYPE
        if kind == inodes.FILE:
            self._fill_file(number, entry, mode)
        elif kind == inodes.SYMLINK:
            self._fill_link(number, entry, mode | 0o777)
        elif kind == inodes.FIFO:
            self.inodes.write(number, entry, mode, links=1)
        else:
            area = _DEVICE.pack(_device(entry.device_major, entry.device_minor))
            self.inodes.write(number, entry, mode, links=1, area=area)

    def _fill_file(self, number: int, entry: Header, mode: int) -> None:
        size = entry.size
        extents.check(size)
        if entry.attributes or not size or self.inodes.links(number):
            self._fill_odd_file(number, entry, mode)
            return
        first = self._blocks.next
        self._content.copy(size)
        self.inodes.write_file(number, entry, mode, size, extents.describe(self._blocks, first))

    def _fill_odd_file(self, number: int, entry: Header, mode: int) -> None:
        """One with attributes, which lie before its data, or without data, or written again."""
        self.inodes.write(number, entry, mode, links=1)
        if not (entry.size or self._content.is_sparse):
            return
        first = self._blocks.next
        self._content.copy(entry.size)
        if entry.size:
            self.inodes.add_data(number, entry.size, extents.describe(self._blocks, first))

    def _fill_link(self, number: int, entry: Header, mode: int) -> None:
        target = entry.link
        if len(target) > MAX_PATH_BYTES:
            raise RefusedError(f"a link to {len(target)} bytes; at most {MAX_PATH_BYTES}")
        area = target if len(target) <= _SHORT_LINK_BYTES else b""
        self.inodes.write(number, entry, mode, links=1, size=len(target), area=area)
        if not area and target:
            first = self._blocks.next
            self._blocks.write(target)
            self._blocks.pad()
            self.inodes.add_data(number, len(target), extents.describe(self._blocks, first))

    def _link(self, folder: Folder, name: bytes, entry: Header) -> None:
        there = self._there(folder, name)
        if isinstance(there, Folder) or (there is not None and self.inodes.links(there) < 2):
            raise RefusedError("a hard link in place of the last name of something")
        target = self._target(entry.link)
        if there != target and self.inodes.links(target) >= MAX_LINKS:
            raise RefusedError(f"more than {MAX_LINKS} names of {shown(entry.link)}")
        if there is not None:
            self.inodes.add_links(there, -1)
        self.inodes.add_links(target, 1)
        folder.children[name] = target

    def _target(self, link: bytes) -> int:
        path, name = split_path(link)
        target = self._there(self._existing(path), name)
        if target is None:
            raise RefusedError(f"a hard link to {shown(link)}, which is not there")
        if isinstance(target, Folder):
            raise RefusedError(f"a hard link to {shown(link)}, which is a folder")
        return target


def _device(major: int, minor: int) -> int:
    """Linux, new_encode_dev; numbers of 32 bits, and what does not fit is dropped."""
    return (minor & 0xFF | major << 8 | (minor & 0xFFFFFF00) << 12) & 0xFFFFFFFF
