"""Files that follow one another in one folder of a layer, from a tar into blocks, in one go.

Most entries of most layers are such files, and what is to be done for one takes less time than a
call of Python. Nothing is decided here: whatever is not a plain new file, whole and at hand, ends
the run and is left to whoever lays down entries one by one.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memchr, memcmp, memcpy, memset

from sealserve.native.ext4 cimport put_extent, put_inode
from sealserve.native.tar cimport Header, header_of
from sealserve.native.views cimport View, readable, writable

cdef enum:
    HEADER = 512
    BLOCK = 4096
    INODE = 256
    FILE = 0x30  # "0"
    MODE = 0x8000  # a file's
    FLAGS = 0xC0000  # blocks are counted in blocks, and described by extents
    # Files in one run: their inodes take 64 KiB.
    MOST = 256


def lay_files(
    window, batch, Py_ssize_t used, uint32_t block, bytes folder not None, dict children not None,
    Py_ssize_t number, Py_ssize_t most
):
    """Lay down plain files from the start of the window.

    window: entries of a tar. batch, used: where blocks are put, and how much of it is filled with
    whole ones; one byte at least stays free. block: the number of the next block. folder: what
    names have in front, with its slash. children: the names in it and their inodes, which become
    more. number: of the next inode. most: files in all.
    Returns how much of the window was used, how much of the batch is, and the new inodes.
    """
    cdef View source = readable(window)
    cdef View target = writable(batch)
    cdef Py_ssize_t count = min(most, <Py_ssize_t> MOST)
    cdef bytes inodes = PyBytes_FromStringAndSize(NULL, max(count, 0) * INODE)
    cdef uint8_t* inode = <uint8_t*> PyBytes_AS_STRING(inodes)
    cdef Py_ssize_t at = 0, made = 0, size, full
    cdef Header header
    if used < 0 or used % BLOCK or used > target.size:
        raise ValueError(f"{used} of {target.size} bytes are not whole blocks of {BLOCK}")
    while made < count and at + HEADER <= source.size:
        try:
            header = header_of(source.data + at)
        except ValueError:
            break  # whoever comes next says so
        if header is None or header.kind != FILE or header.size <= 0:
            break
        if header.size > source.size - at - HEADER or header.size > target.size - used:
            break
        size = header.size
        full = (size + BLOCK - 1) // BLOCK * BLOCK
        if (size + HEADER - 1) // HEADER * HEADER > source.size - at - HEADER:
            break
        if used + full >= target.size:
            break
        name = _plain_name(header.name, folder)
        if name is None or name in children:
            break
        memcpy(target.data + used, source.data + at + HEADER, size)
        memset(target.data + used + size, 0, full - size)
        _write_inode(inode + made * INODE, header, block, full // BLOCK)
        children[name] = number + made
        made += 1
        at += HEADER + (size + HEADER - 1) // HEADER * HEADER
        used += full
        block += <uint32_t> (full // BLOCK)
    return at, used, inodes[: made * INODE]


cdef void _write_inode(uint8_t* to, Header header, uint32_t block, Py_ssize_t blocks) noexcept:
    memset(to, 0, INODE)
    put_inode(
        to, header, <int> header.mode & 0xFFF | MODE, header.size, 1, <uint32_t> blocks, FLAGS, 0
    )
    put_extent(to, block, blocks)


cdef bytes _plain_name(bytes path, bytes folder):
    """The name in the folder, or None if it is not just that, or means something else."""
    cdef Py_ssize_t before = len(folder), size = len(path) - before
    cdef const char* text = path
    if size <= 0 or size > 255 or memcmp(text, <const char*> folder, before):
        return None
    text += before
    if text[0] == b"." and (size == 1 or text[1] == b"." or text[1] == b"w"):
        return None  # the folder, the one above, or perhaps a whiteout
    if memchr(text, b"/", size) != NULL:
        return None
    return path[before:]
