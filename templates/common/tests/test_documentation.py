"""The documents say what the code says."""

import re
from pathlib import Path

from service import database_url, errors

DEPLOYMENT = Path(__file__).parent.parent / "docs" / "deployment.md"


def test_every_503_is_in_the_table_of_the_deployment_guide() -> None:
    rows = re.findall(r'^\| "(.+?)" \| `(\w+)` \|', DEPLOYMENT.read_text(), re.MULTILINE)
    documented = {reason: detail for detail, reason in rows}
    answers = {
        name: value.detail
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.DatabaseUnavailable)
    }
    assert documented.keys() == answers.keys()
    for reason, detail in documented.items():
        assert answers[reason].startswith(detail)


def test_parameters_that_are_left_out_are_in_the_deployment_guide() -> None:
    text = DEPLOYMENT.read_text()
    [paragraph] = re.findall(r"parameters are left out, (.+?)\n\n", text, re.DOTALL)
    listed = set(re.findall(r"`(\w+)`", paragraph))
    assert listed == database_url.NOT_NEEDED.keys() - {"connect_timeout"}
