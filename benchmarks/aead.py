"""How fast is a sealed message opened, and how close is that to what the processor can do?

Ours opens chunks of 16 KiB, each with a nonce and a tag, through the face that everybody uses. The
first table stays in a core's level 2 cache; OpenSSL and libipsec-mb open the same chunks, the
others texts of the sizes named, each library at its best. The others go over growing sizes.
"""

from __future__ import annotations

from collections.abc import Sequence

from support.ciphers import (
    Chunks,
    aesgcm,
    cobblestone,
    evp,
    ipsec,
    kernel,
    memcpy,
    open_into,
    pycryptodome,
    pynacl,
    secretbox,
)
from support.machine import GCM_PORTS
from support.native import one_core
from support.options import KIB, MIB, options
from support.report import Report, begin, best
from support.turns import Missing, Way

QUESTION = "How fast is a sealed message opened?"
CHUNK = 16 * KIB
TEXTS = [16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB]
SIZES = [16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB]
LONG = 4 * MIB
BURST = MIB  # for every text of the first table but the longest


def alike(ways: Sequence[Way | Missing]) -> list[Way | Missing]:
    return [way.in_bursts_of(BURST) if isinstance(way, Way) else way for way in ways]


def in_cache(report: Report) -> None:
    """The table that the ratios are of."""
    size = report.options.size
    texts = [aesgcm(max(size, text), text) for text in TEXTS]
    chunks = Chunks(size)
    ours, long = open_into(size), open_into(LONG)
    speeds = report.compare(
        "Opened, 16 KiB chunks, one thread",
        [ours.in_bursts_of(BURST), (bare := kernel(chunks)).in_bursts_of(BURST)],
        alike(
            [
                openssl := evp(chunks),
                ipsec(chunks),
                *texts,
                cobblestone(size),
                pycryptodome(size, CHUNK),
                pynacl(size, CHUNK),
                secretbox(size, CHUNK),
                memcpy(size),
            ]
        ),
    )
    mine = speeds[ours.name]
    library = [speeds[way.name] for way in texts]
    report.ratio("against OpenSSL, EVP", mine, speeds[openssl.name], at_least=2.6)
    report.ratio("against decrypt_into at 64 KiB", mine, library[1], at_least=1.10)
    report.ratio("against decrypt_into at its best size", mine, best(library), at_least=1.0)
    report.port_limit(f"AES-256-GCM over {size >> 10} KiB", mine, GCM_PORTS, at_least=0.90)
    report.port_limit("AES-256-GCM called from C", speeds[bare.name], GCM_PORTS)
    further = report.compare("Opened, longer than level 2", [long], [memcpy(LONG)])
    report.port_limit(f"AES-256-GCM over {LONG >> 20} MiB", further[long.name], GCM_PORTS)


def by_size(report: Report) -> None:
    """The chart: what one call brings, from one chunk to beyond the caches."""
    for size in SIZES[:2] if report.options.quick else SIZES:
        chunks = Chunks(size)
        report.compare(
            f"Opened in one call, {size >> 10} KiB",
            [open_into(size)],
            [
                evp(chunks),
                ipsec(chunks),
                aesgcm(size, size),
                cobblestone(size),
                pycryptodome(size, size),
                pynacl(size, size),
                memcpy(size),
            ],
        )


def main() -> None:
    wanted = options(QUESTION, size=256 * KIB, quick_size=64 * KIB, multiple=CHUNK, repeats=15)
    report = begin("aead", QUESTION, wanted)
    with one_core():
        in_cache(report)
        by_size(report)
    report.finish()


main()
