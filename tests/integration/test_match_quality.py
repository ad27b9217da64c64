"""Meta's own match quality, asked of the endpoint that Meta documents."""

from __future__ import annotations

from datetime import timedelta

import pytest
import requests
from tributary.platforms.meta.client import Graph
from tributary.platforms.meta.errors import MetaError
from tributary.platforms.meta.quality import match_quality

from tests.support.outgoing import (
    NOW,
    OTHER_PIXEL,
    PIXEL,
    TOKEN,
    configure,
    purchase,
    sandbox_with_pixels,
    send,
    take,
)


def test_scores_are_of_what_meta_has_received(warehouse: str) -> None:
    """The page shows another pixel's score, or one where Meta has none."""
    configure(warehouse)
    poor = {"email": None, "phone": "+14155550101", "event_name": "Lead", "transaction_id": None}
    mailed = {"event_name": "Contact", "transaction_id": None, "action_source": "email"}
    take(warehouse, [
        purchase(1, phone="+14155550101", fbp="fb.1.1787079973150.1", external_id="crm-1"),
        purchase(2, phone="+14155550102", fbp="fb.1.1787079973150.2", external_id="crm-2"),
        purchase(3, **poor), purchase(4, **mailed),
    ])  # fmt: skip
    with sandbox_with_pixels() as sandbox:
        graph = Graph(TOKEN, host=sandbox.url, attempts=1)
        assert match_quality(graph, PIXEL) == {}  # Meta has seen nothing yet
        assert send(warehouse, sandbox).succeeded == 4
        scores = match_quality(graph, PIXEL)
        assert scores.keys() == {"Purchase", "Lead"}  # it scores a website's events only
        assert 10 >= scores["Purchase"] > scores["Lead"] > 0
        with pytest.raises(MetaError) as refused:  # a token that does not manage the dataset
            match_quality(graph, OTHER_PIXEL)
        assert TOKEN not in str(refused.value)
        fields = "web{event_match_quality{match_key_feedback{identifier,coverage{percentage}}}}"
        asked = {"dataset_id": PIXEL, "fields": fields, "access_token": TOKEN}
        url = f"{sandbox.url}/v26.0/dataset_quality"
        web = requests.get(url, params=asked, timeout=10).json()["web"]
        feedback = web[1]["event_match_quality"]["match_key_feedback"]
        assert {"identifier": "email", "coverage": {"percentage": 100}} in feedback
        for wrong in ({"fields": "web{colour}"}, {"dataset_id": ""}, {"x": "1"}):
            assert requests.get(url, params={**asked, **wrong}, timeout=10).status_code == 400
        sandbox.clock.set(NOW + timedelta(days=8))
        assert match_quality(graph, PIXEL) == {}
