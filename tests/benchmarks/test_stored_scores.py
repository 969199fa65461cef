"""A stored row can be compared with clip by clip, as if it had just been scored."""

import json

from benchmarks.shared.scoring import stored_scores, utterances
from whisperslim.speech.scoring.normalizer import for_language
from whisperslim.speech.scoring.significance import compare
from whisperslim.speech.scoring.wer import Score, score

REFERENCES = ["एक दो तीन", "चार पाँच", "", "छह सात आठ नौ"]


class Result:
    """What `EvalResult` is to these functions."""

    def __init__(self, texts: list[str]) -> None:
        way = for_language("hi")
        self.scores: dict[str, Score] = {way.name: score(REFERENCES, texts, way)}


def test_a_stored_score_compares_as_the_score_itself() -> None:
    dense, slim = Result(["एक दो", "चार पाँच", "ना", "छह"]), Result(["एक", "चार", "", "छह सात"])
    ((way, own),) = dense.scores.items()
    row = {
        "sets": {"set": {"scores": {way: {**own.to_record(), "wer_interval_95": [0.1, 0.2]}}}},
        "utterances": utterances({"set": dense}),
    }
    found = stored_scores(json.loads(json.dumps(row)))["set"][way]
    assert found == own
    assert compare(found, slim.scores[way]) == compare(own, slim.scores[way])
