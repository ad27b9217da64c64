"""How well Meta can tell whom the events of a dataset (a pixel) are about, as Meta itself says."""

from __future__ import annotations

from tributary.platforms.meta.client import Graph

_FIELDS = "web{event_name,event_match_quality{composite_score}}"


def match_quality(graph: Graph, dataset_id: str) -> dict[str, float]:
    """The score, out of 10, by event name. Meta has it for events of websites, and after a while.

    It wants a token that manages the dataset.
    https://developers.facebook.com/docs/marketing-api/conversions-api/dataset-quality-api

    Raises:
        MetaError: the token may not, or no answer came.
    """
    answer = graph.get("dataset_quality", dataset_id=dataset_id, fields=_FIELDS)
    scores = {}
    for one in answer.get("web") or []:
        score = (one.get("event_match_quality") or {}).get("composite_score")
        if score is not None:
            scores[str(one["event_name"])] = float(score)
    return scores
