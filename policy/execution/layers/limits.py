"""What a layer may ask of us. Nothing of a layer is on disk, so what it makes grow is memory."""

from __future__ import annotations

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

# The reference's own: it makes no larger disk (hcsshim ext4/dmverity, RecommendedVHDSizeGB).
MAX_IMAGE_BYTES = 128 * GIB
# A tar has headers and padding as well, and entries that are replaced or taken for whiteouts.
MAX_TAR_BYTES = 2 * MAX_IMAGE_BYTES
# With more of them the reference's 32-bit count of blocks wraps: 2^32 / 32765 * 16.
MAX_INODES = 2 * MIB
MAX_ENTRIES = 2 * MAX_INODES
# Linux takes no longer path, and 2048 folders are the deepest it can mean.
MAX_PATH_BYTES = 4 * KIB
MAX_COMPONENT_BYTES = 255  # ext4: one byte holds a name's length
# Go's: of a PAX header, a long name, the maps of a sparse file.
MAX_EXTENSION_BYTES = MIB
MAX_FRAGMENTS = MIB
# A kilobyte may claim exabytes of nothing. Holes that logs have in real images are below this.
MAX_HOLES_BYTES = 16 * GIB
# Each holds a block that may be written again; real layers have a few. 256 MiB of memory.
MAX_ATTRIBUTE_BLOCKS = 64 * KIB
# Go sorts more of them in an order that is nobody's comparison.
MAX_SORTED_ATTRIBUTES = 12
# One block of extents; the reference's arithmetic for a second one is wrong.
MAX_EXTENTS = 339
# ext4's own bound, which the reference keeps (hcsshim ext4/internal/format, MaxLinks).
MAX_LINKS = 65000
