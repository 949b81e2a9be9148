"""Names that do not say which column is meant."""

from mlops_cli.core.base.names import repeated


def test_names_that_stand_more_than_once_come_out_once_in_order() -> None:
    assert repeated(["b", "a", "b", "c", "a", "b"]) == ["b", "a"]
    assert repeated([]) == []


def test_the_names_are_gone_through_once() -> None:
    assert repeated(iter(["a", "b", "a"])) == ["a"]
