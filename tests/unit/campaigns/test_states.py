"""The state tables, and that the verbs keep to them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longwave.campaigns import lifecycle
from longwave.campaigns.models import Batch, Campaign, CampaignState, DeliveryState
from longwave.campaigns.states import CAMPAIGN, DELIVERY
from longwave.core.errors import Conflict, LongwaveError
from longwave.senders.models import Sender

ENDS = {CampaignState.CANCELLED}


def test_every_state_of_a_campaign_can_be_reached_and_left_but_for_its_ends() -> None:
    targets = {target for _, _, target in CAMPAIGN} | {CampaignState.DRAFT}
    sources = {source for _, source, _ in CAMPAIGN}

    assert targets == set(CampaignState)
    assert sources == set(CampaignState) - ENDS


def test_what_was_delivered_is_never_sent_again() -> None:
    assert not [verb for verb, source, _ in DELIVERY if source in (DeliveryState.SENT, DeliveryState.GONE)]


def test_only_a_claim_leads_to_sending() -> None:
    assert [(verb, source) for verb, source, target in DELIVERY if target == DeliveryState.SENDING] == [
        ("claim", DeliveryState.PENDING)
    ]


def a_campaign(state: CampaignState) -> Campaign:
    sender, _ = Sender.objects.get_or_create(channel="memory", name="s", defaults={"credentials": "x"})
    content = {"text": "hi"}
    return Campaign.objects.create(sender=sender, name="c", content=content, state=state, prepared=True)


VERBS = {
    "pause": lifecycle.pause,
    "resume": lifecycle.resume,
    "cancel": lifecycle.cancel,
    "reopen": lifecycle.reopen,
    "run": lifecycle.run,
    "unschedule": lifecycle.unschedule,
}


@pytest.mark.usefixtures("sqlite")
class TestVerbs:
    @pytest.mark.parametrize("state", CampaignState)
    @pytest.mark.parametrize("verb", VERBS)
    def test_a_verb_leads_where_the_table_says_or_is_refused(self, verb: str, state: CampaignState) -> None:
        campaign = a_campaign(state)
        target = CAMPAIGN.target(verb, state)

        if target is None:
            with pytest.raises(Conflict, match=f"it is (a )?{state}"):
                VERBS[verb](campaign.pk)
            target = state
        else:
            VERBS[verb](campaign.pk)

        assert Campaign.objects.get(pk=campaign.pk).state == target

    def test_resuming_what_was_never_prepared_prepares_it_first(self) -> None:
        campaign = a_campaign(CampaignState.PAUSED)
        Campaign.objects.filter(pk=campaign.pk).update(prepared=False)

        assert lifecycle.resume(campaign.pk).state == CampaignState.PREPARING

    def test_a_campaign_with_open_batches_is_not_complete(self) -> None:
        campaign = a_campaign(CampaignState.RUNNING)
        batch = Batch.objects.create(campaign=campaign, number=1, size=1)

        assert not lifecycle.complete(campaign.pk)
        Batch.objects.filter(pk=batch.pk).update(state="done")
        assert lifecycle.complete(campaign.pk)

    def test_a_broken_sender_is_named_when_resume_is_refused(self) -> None:
        campaign = a_campaign(CampaignState.PAUSED)
        Sender.objects.update(status="broken", status_reason="token revoked")

        with pytest.raises(Conflict, match="token revoked"):
            lifecycle.resume(campaign.pk)

    @settings(deadline=None)
    @given(verbs=st.lists(st.sampled_from(sorted(VERBS)), max_size=8))
    def test_no_sequence_of_verbs_leaves_an_end_or_breaks_the_table(self, verbs: list[str]) -> None:
        campaign = a_campaign(CampaignState.RUNNING)
        state = CampaignState.RUNNING
        for verb in verbs:
            target = CAMPAIGN.target(verb, state)
            try:
                VERBS[verb](campaign.pk)
            except LongwaveError:
                assert target is None
            else:
                assert target is not None
                state = target
        assert Campaign.objects.get(pk=campaign.pk).state == state
