"""Writes nist_cavp_gcm256_iv96.rsp: what CAVP asks of a 96-bit IV, no AAD and a 128-bit tag.

python cut_cavp.py nist_cavp_gcmDecrypt256.rsp.gz nist_cavp_gcmEncryptExtIV256.rsp.gz
"""

from __future__ import annotations

import gzip
import re
import sys
from pathlib import Path

WANTED = {"Keylen": "256", "IVlen": "96", "AADlen": "0", "Taglen": "128"}


def cut(text: str) -> str:
    head, *groups = re.split(r"(?=\[Keylen)", text.replace("\r", ""))
    kept = [
        g for g in groups if WANTED.items() <= dict(re.findall(r"\[(\w+) = (\d+)\]", g)).items()
    ]
    return head + "".join(kept)


if __name__ == "__main__":
    parts = [cut(gzip.decompress(Path(path).read_bytes()).decode()) for path in sys.argv[1:]]
    Path(__file__).with_name("nist_cavp_gcm256_iv96.rsp").write_text("\n".join(parts))
