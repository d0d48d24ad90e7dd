"""What callers are told stands in a list, and the list is what the code says.

That every refusal which a test here provokes is on it is looked at where they are made:
support/server_case.py.
"""

from __future__ import annotations

import pytest

from support.refusals import is_listed, listed, of_ours, written


def test_the_list_is_what_the_code_says() -> None:
    assert set(of_ours()) == written()


def test_no_line_stands_there_twice() -> None:
    assert len(set(listed())) == len(listed())


@pytest.mark.parametrize(
    ("status", "words", "there"),
    [
        ("INVALID_ARGUMENT", "tensor 'x' is BOOL and has a byte other than 0 and 1", True),
        ("NOT_FOUND", "tensor 'x' is BOOL and has a byte other than 0 and 1", False),
        ("INVALID_ARGUMENT", "tensor 'x' is BOOL and has the byte 7", False),
        ("INVALID_ARGUMENT", "tensor 'xxxxxxxxxxxxxxxxxxxxxxx…", True),
        ("INVALID_ARGUMENT", "the byte is 7…", False),
        ("INTERNAL", "the server failed on this request", True),
        ("INTERNAL", "the server failed on this request: ValueError", False),
    ],
)
def test_whether_words_are_listed(status: str, words: str, there: bool) -> None:
    assert is_listed(status, words) is there
