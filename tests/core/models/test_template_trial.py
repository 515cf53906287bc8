"""Templates that would never end are found out in a process of their own."""

from __future__ import annotations

import pytest

from core.models.template_trial import survives_trial
from tests.conftest import CHATML


@pytest.mark.parametrize(
    "template",
    [
        CHATML,
        "{{ raise_exception('System role not supported') }}",
        "{{ no_such_function() }}",
        "{% generation %}{{ messages[0]['content'] }}{% endgeneration %}{% break %}",
        "{{ strftime_now('%d %b %Y') }}{{ messages | tojson(indent=4) }}",
    ],
)
def test_a_template_that_renders_or_fails_passes(template: str) -> None:
    assert survives_trial(template)


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'a' * 2000000000 }}",
        "{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}",
    ],
    ids=["endless", "memory", "output"],
)
def test_an_endless_or_greedy_template_does_not(template: str) -> None:
    assert not survives_trial(template)
