from pathlib import Path

from longwave.campaigns.models import DeliveryState
from longwave.campaigns.states import CAMPAIGN

PAGE = (Path(__file__).parents[3] / "docs" / "campaigns.md").read_text()


def test_the_picture_of_the_states_is_the_table() -> None:
    drawn = PAGE.split("```mermaid\n")[1].split("\n```")[0].splitlines()

    assert sorted(drawn) == sorted(CAMPAIGN.mermaid().splitlines())


def test_every_state_of_a_delivery_is_explained() -> None:
    assert [state for state in DeliveryState if f"| `{state}` |" not in PAGE] == []
