"""Which predictions of a lost past may be given to waiting jobs, and which may be somebody's."""

from darkroom.store.attempts import Ticket
from worker.stages.reconcile.listing import Orphan
from worker.stages.reconcile.open_sends import OpenSend
from worker.stages.server_change import share_out


def orphan(name: str, wanted: str | None = "fox", created_ms: int | None = 5) -> Orphan:
    return Orphan(name, wanted, created_ms)


def send(state: str, wanted: str = "fox") -> OpenSend:
    unknown_ms = None if state == "submitting" else 9
    return OpenSend(Ticket("job_1", 1, 1), state, 1, wanted, 1, unknown_ms, "", "k")


def test_what_nobody_can_claim_is_given_oldest_first() -> None:
    shares = share_out([orphan("late", created_ms=9), orphan("early", created_ms=1), orphan("other", "owl")], [])
    assert {wanted: [item.prediction_id for item in found] for wanted, found in shares.named.items()} == {
        "fox": ["early", "late"],
        "owl": ["other"],
    }
    assert (shares.nameless, shares.wait_for) == ([], "")


def test_a_lost_send_keeps_its_own() -> None:
    for state in ("unconfirmed", "failed"):
        assert share_out([orphan("p1")], [send(state)]).named == {}
        shares = share_out([orphan("p1"), orphan("p2", created_ms=6)], [send(state)])
        assert [item.prediction_id for item in shares.named["fox"]] == ["p2"]


def test_an_equal_request_being_sent_is_waited_for() -> None:
    assert share_out([orphan("p1")], [send("submitting")]).wait_for
    assert not share_out([orphan("p1")], [send("submitting", "owl")]).wait_for


def test_what_says_nothing_is_an_operators_once_no_lost_send_can_claim_it() -> None:
    assert share_out([orphan("p1", None)], [send("unconfirmed", "owl")]).wait_for
    shares = share_out([orphan("p1", None)], [send("failed", "owl")])
    assert ([item.prediction_id for item in shares.nameless], shares.wait_for) == (["p1"], "")
