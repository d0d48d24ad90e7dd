"""Release policies piece by piece, and as hypothesis likes them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st


def claim(name: str, value: object) -> dict[str, object]:
    """One comparison."""
    return {"claim": name, "equals": value}


def conditions(
    names: list[str], values: st.SearchStrategy[Any], most: int
) -> st.SearchStrategy[dict[str, object]]:
    """Comparisons of these claims with these values, nested; at most so many in one."""
    return st.recursive(
        st.builds(claim, st.sampled_from(names), values),
        lambda inner: st.builds(
            lambda name, parts: {name: parts},
            st.sampled_from(["allOf", "anyOf"]),
            st.lists(inner, min_size=1, max_size=3),
        ),
        max_leaves=most,
    )


# Any JSON, with the members that mean something in a policy.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["version", "anyOf", "allOf", "authority", "claim", "equals", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)
