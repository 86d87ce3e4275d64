"""What a listing means: nobody gets what may be somebody else's, and equal requests share out what there is."""

from collections.abc import Sequence

from darkroom.store.attempts import Ticket
from worker.stages.reconcile.listing import PAD_MS, Orphan, merged
from worker.stages.reconcile.matching import SLACK_MS, Absent, Adopt, Contested, Finding, Nameless, match
from worker.stages.reconcile.open_sends import OpenSend, wanted_name

T = 1_700_000_000_000
FOX, OWL = "fox", "owl"


def send(job: str, wanted: str = FOX, *, at: int = T, state: str = "unconfirmed", until: int | None = None) -> OpenSend:
    end = None if state == "submitting" else until or at + 1_000
    return OpenSend(Ticket(job, 1, 1), state, 1, wanted, at, end, "reset", "k")


def orphan(name: str, wanted: str | None = FOX, *, at: int | None = T + 500) -> Orphan:
    return Orphan(name, wanted, at)


def found(sends: Sequence[OpenSend], *orphans: Orphan, clock_known: bool = True) -> dict[str, Finding]:
    return {item.ticket.job_id: what for item, what in match(sends, orphans, clock_known=clock_known)}


def test_what_asked_for_the_same_is_adopted() -> None:
    assert found([send("a")], orphan("p1")) == {"a": Adopt(orphan("p1"))}


def test_what_asked_for_something_else_is_not() -> None:
    assert found([send("a")], orphan("p1", OWL)) == {"a": Absent()}


def test_lost_sends_of_the_same_request_share_out_the_orphans_and_none_is_given_twice() -> None:
    findings = found([send("a"), send("b"), send("c")], orphan("p1"), orphan("p2"))
    adopted = [what.orphan.prediction_id for what in findings.values() if isinstance(what, Adopt)]
    assert sorted(adopted) == ["p1", "p2"]
    assert list(findings.values()).count(Absent()) == 1


def test_orphan_of_another_time_is_nobodys() -> None:
    early, late = orphan("p1", at=T - PAD_MS - 1), orphan("p2", at=T + 1_000 + PAD_MS + 1)
    assert found([send("a")], early, late) == {"a": Absent()}
    assert found([send("a")], orphan("p1", at=T - PAD_MS + 1)) == {"a": Adopt(orphan("p1", at=T - PAD_MS + 1))}


def test_orphan_of_unreadable_time_is_taken_by_its_request_alone() -> None:
    assert found([send("a")], orphan("p1", at=None)) == {"a": Adopt(orphan("p1", at=None))}


def test_candidate_is_left_alone_while_an_equal_request_is_being_sent() -> None:
    rival = send("b", at=T + 100, state="submitting")
    assert found([send("a"), rival], orphan("p1")) == {"a": Contested()}


def test_candidate_that_is_older_than_the_rivals_send_is_not_contested() -> None:
    rival = send("b", at=T + 500 + SLACK_MS + 1, state="submitting")
    assert found([send("a"), rival], orphan("p1")) == {"a": Adopt(orphan("p1"))}
    assert found([send("a"), rival], orphan("p1"), clock_known=False) == {"a": Contested()}


def test_another_request_that_is_being_sent_contests_nothing() -> None:
    assert found([send("a"), send("b", OWL, state="submitting")], orphan("p1")) == {"a": Adopt(orphan("p1"))}


def test_one_nameless_orphan_can_only_be_the_one_lost_sends() -> None:
    assert found([send("a")], orphan("p1", None)) == {"a": Nameless((orphan("p1", None),), only=True)}


def test_two_nameless_orphans_are_nobodys() -> None:
    findings = found([send("a")], orphan("p1", None), orphan("p2", None))
    assert findings == {"a": Nameless((orphan("p1", None), orphan("p2", None)), only=False)}


def test_a_nameless_orphan_is_nobodys_while_another_send_of_the_time_is_open() -> None:
    for other in (send("b", OWL), send("b", OWL, state="submitting"), send("b", OWL, state="failed")):
        assert found([send("a"), other], orphan("p1", None))["a"] == Nameless((orphan("p1", None),), only=False)


def test_a_nameless_orphan_may_be_taken_when_the_other_sends_are_long_past() -> None:
    other = send("b", OWL, at=T - 10 * SLACK_MS, state="failed")
    assert found([send("a"), other], orphan("p1", None)) == {"a": Nameless((orphan("p1", None),), only=True)}


def test_what_says_what_it_was_asked_for_comes_before_what_does_not() -> None:
    assert found([send("a")], orphan("p1", None), orphan("p2")) == {"a": Adopt(orphan("p2"))}


def test_requests_are_equal_however_their_size_is_spelled_and_differ_in_anything_else() -> None:
    assert wanted_name("a", "2048x2048", 2) == wanted_name("a", "2048*2048", 2)
    names = {wanted_name("a", "2048*2048", 2), wanted_name("b", "2048*2048", 2), wanted_name("a", "2048*2049", 2)}
    assert len(names | {wanted_name("a", "2048*2048", 3)}) == 4


def test_windows_are_padded_and_those_that_overlap_are_listed_once() -> None:
    assert merged([(T, T + 1), (T + 2 * PAD_MS, T + 2 * PAD_MS + 5)]) == [(T - PAD_MS, T + 3 * PAD_MS + 5)]
    far = T + 10 * PAD_MS
    assert merged([(far, far), (T, T)]) == [(T - PAD_MS, T + PAD_MS), (far - PAD_MS, far + PAD_MS)]
