"""Lists in pages: `maxresults` asks for so many entries, `nextLink` leads to the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from sealserve.keys.keyid import NAME
from sealserve.keys.refused import bad_parameter

MOST = 25  # Azure's own page
_SKIP = "$skiptoken"


@dataclass(frozen=True, slots=True)
class Page:
    """So many entries behind the one that is called `after`; "" is the beginning."""

    size: int = MOST
    after: str = ""
    api_version: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Page:
        """Raises Refused."""
        size, after = query.get("maxresults", str(MOST)), query.get(_SKIP, "")
        if not size.isascii() or not size.isdigit() or not 1 <= int(size[:9]) <= MOST:
            raise bad_parameter(f"maxresults: seen {size[:20]!r}; wanted 1 to {MOST}")
        if after and not NAME.fullmatch(after):
            raise bad_parameter(f"{_SKIP} is none of ours")
        return cls(int(size), after, query.get("api-version", "")[:32])

    def link(self, place: str, found: Sequence[str]) -> str | None:
        """Where the next page is, None after the last. found: one more than the page holds."""
        if len(found) <= self.size:
            return None
        query = {"maxresults": str(self.size), _SKIP: found[self.size - 1]}
        if self.api_version:
            query["api-version"] = self.api_version
        return f"{place}?{urlencode(query)}"
