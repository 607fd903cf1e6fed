import pytest

from pipeline.errors import BadInput, brief


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (BadInput("The shard is cut off: prepare again."), "The shard is cut off: prepare again"),
        (ValueError("no\nlong story"), "ValueError: no"),
        (OSError(28, "No space left on device", "/x"), "No space left on device (/x)"),
        (KeyError(), "KeyError: no message"),
    ],
)
def test_an_error_in_one_line(error: Exception, line: str) -> None:
    assert brief(error) == line
