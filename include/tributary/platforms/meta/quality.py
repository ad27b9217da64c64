"""Meta's own score of how well it can match the events of a dataset (a pixel) to people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tributary.platforms.meta.client import Graph

_FIELDS = "web{event_name,event_match_quality{composite_score}}"


def match_quality(graph: Graph, dataset_id: str) -> dict[str, float]:
    """The score, out of 10, by event name. Meta has it for events of websites, and after a while.

    The token must manage the dataset.
    https://developers.facebook.com/docs/marketing-api/conversions-api/dataset-quality-api

    Raises:
        MetaError: the token does not manage the dataset, or no answer came.
    """
    answer = graph.get("dataset_quality", dataset_id=dataset_id, fields=_FIELDS)
    scores = {}
    for one in answer.get("web") or []:
        score = (one.get("event_match_quality") or {}).get("composite_score")
        if score is not None:
            scores[str(one["event_name"])] = float(score)
    return scores
