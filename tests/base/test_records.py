import pytest

from mlops_cli.core.base.records import ModelRef
from mlops_cli.core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flights@3", ModelRef("flights", version=3)),
        ("flights@production", ModelRef("flights", alias="production")),
        ("flights@latest", ModelRef("flights", alias="latest")),
        ("runs:0123abcd", ModelRef(run="0123abcd")),
        ("models:/flights/3", ModelRef("flights", version=3)),
        ("models:/flights@production", ModelRef("flights", alias="production")),
        ("runs:/0123abcd/model", ModelRef(run="0123abcd")),
    ],
)
def test_every_form_of_reference_is_read(text: str, expected: ModelRef) -> None:
    assert ModelRef.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "flights", "flights@", "@3", "runs:", "runs:xyz", "models:/flights", "a b@3", "../x@1", "a@b/c"]
)
def test_what_is_not_a_reference_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        ModelRef.parse(text)
    assert "name@production" in str(caught.value.hint)


@pytest.mark.parametrize("text", ["flights@3", "flights@production", "runs:0123abcd"])
def test_a_reference_prints_as_it_is_typed(text: str) -> None:
    assert str(ModelRef.parse(text)) == text
