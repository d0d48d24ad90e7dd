from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from sealserve.native.tar cimport Header


# The 152 bytes of an inode's fields; its area is left empty.
cdef void put_inode(
    uint8_t* to, Header about, uint16_t mode, uint64_t size, uint16_t links, uint32_t blocks,
    uint32_t flags, uint32_t attribute_block
) noexcept
# Into the area of that inode: all of the file's blocks lie from `first` on.
cdef void put_extent(uint8_t* to, uint32_t first, uint16_t blocks) noexcept
