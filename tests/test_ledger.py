import json
from pathlib import Path

import pytest

from pipeline.errors import BadInput
from pipeline.ledger import FORMAT, Ledger, Outcome, Result
from pipeline.store import Store


def result(digest: str, outcome: Outcome = Outcome.done) -> Result:
    return Result(digest, "pretrain", {"is": "Pretrain"}, outcome, {"val_error": 0.5}, {"family": "vit"})


def test_a_result_is_recorded_once(tmp_path: Path) -> None:
    ledger = Ledger(Store(str(tmp_path)))
    assert ledger.publish(result("ab12"))
    again = result("ab12")
    again.metrics["val_error"] = 0.1
    assert not ledger.publish(again)
    found = ledger.get("ab12")
    assert found is not None
    assert found.metrics == {"val_error": 0.5}
    assert ledger.known() == {"ab12"}


def test_a_failure_is_no_result_and_goes_when_the_trial_succeeds(tmp_path: Path) -> None:
    ledger = Ledger(Store(str(tmp_path)))
    ledger.publish(result("ab12", Outcome.failed))
    assert ledger.known() == set()
    assert [r.outcome for r in ledger.results()] == [Outcome.failed]
    ledger.publish(result("ab12"))
    assert [r.outcome for r in ledger.results()] == [Outcome.done]
    assert ledger.failure("ab12") is None


def test_a_newer_format_is_refused_in_one_sentence(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    ledger = Ledger(store)
    plain = json.loads(result("ab12").to_json())
    store.put("ledger/ab12.json", json.dumps({**plain, "format": FORMAT + 1, "unknown": 1}).encode())
    with pytest.raises(BadInput, match="newer Crossover"):
        ledger.results()


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"format": 1}', b'{"format": "x"}'])
def test_a_damaged_result_is_one_sentence(tmp_path: Path, data: bytes) -> None:
    store = Store(str(tmp_path))
    store.put("ledger/ab12.json", data)
    with pytest.raises(BadInput, match="damaged"):
        Ledger(store).get("ab12")


def test_a_prefix_finds_one_digest(tmp_path: Path) -> None:
    ledger = Ledger(Store(str(tmp_path)))
    for digest in ("ab12", "ab34", "cd56"):
        ledger.publish(result(digest))
    assert ledger.find("C") == "cd56"
    with pytest.raises(BadInput, match="2 trials"):
        ledger.find("ab")
    with pytest.raises(BadInput, match="No trial"):
        ledger.find("ee")
