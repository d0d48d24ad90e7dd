"""How old a revocation list may be, as we recommend it, and from where on the number says nothing.

AMD makes a new list of a product line about once a year. Those we have seen (`tests/vectors`, the
lists of 2025) are valid for 371 to 376 days, and one fetched in April was eleven months old and
the newest there was. A shorter limit therefore refuses machines that staple what AMD publishes;
a longer one limits nothing, because a list that is past its nextUpdate is refused anyway.
"""

from __future__ import annotations

RECOMMENDED_DAYS = 400  # any list that is still valid, whatever the day on which AMD replaces it
SHORTEST_DAYS = 366  # below this, the newest list there is may be too old
