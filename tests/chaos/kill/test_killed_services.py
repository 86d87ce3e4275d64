"""The ingress and the services around the workers go away at the worst instants: it costs time and nothing else."""

from darkroom.checkpoints import Checkpoint
from simulator.testing import RunningSimulator
from tests.chaos.kill.judge import judge
from tests.chaos.kill.points import BY_NAME, repeat_until_accepted
from tests.chaos.kill.rig import Rig
from tests.support.waiting import wait_until


def test_ingress_killed_around_its_answer_makes_one_job_of_a_repeated_request(rig: Rig) -> None:
    rig.api()
    answer, stored = repeat_until_accepted(rig, "before", Checkpoint.API_BEFORE_ENQUEUE)
    assert (answer.status_code, stored, answer.headers.get("Idempotent-Replayed")) == (202, False, None)
    answer, stored = repeat_until_accepted(rig, "after", Checkpoint.API_ENQUEUED)
    assert (answer.status_code, stored, answer.headers.get("Idempotent-Replayed")) == (202, True, "true")
    rig.worker()
    rig.wait_for_all(60)
    assert judge(rig) == []


def test_valkey_killed_after_the_intent_after_the_answer_and_in_mid_store_costs_only_time(rig: Rig) -> None:
    rig.api()
    worker = rig.worker()
    for name in ("submit: intent, nothing sent", "submit: answered, id not stored", "store: uploaded, not kept"):
        caught, _ = BY_NAME[name].catch(rig)
        worker.lines.clear()
        rig.valkey.kill()
        caught.resume()
        wait_until(lambda: "store_unavailable" in worker.output, what="it was missed")
        rig.valkey.start()
        wait_until(lambda: rig.fleet.client.get("/readyz").status_code == 200, what="the ingress is ready again")
    rig.wait_for_all(80)
    assert worker.popen.poll() is None
    assert judge(rig) == []


def test_bucket_that_goes_away_in_mid_upload_is_filled_once_it_is_back(rig: Rig) -> None:
    rig.api()
    worker = rig.worker()
    caught, _ = BY_NAME["store: mid upload"].catch(rig)
    rig.s3.kill()
    caught.resume()
    wait_until(lambda: "store.later" in worker.output, what="it was missed")
    rig.s3.start()
    rig.wait_for_all(60)
    assert judge(rig) == []


def test_upstream_that_goes_away_before_and_after_the_request_is_paid_once(
    rig: Rig, simulator: RunningSimulator
) -> None:
    rig.api()
    rig.worker()
    caught, before = BY_NAME["submit: intent, nothing sent"].catch(rig)
    with simulator.outage():
        caught.resume()
        wait_until(lambda: rig.job(before)["status"] == "queued", what="it never left")
    _, after = BY_NAME["submit: sent, answer awaited"].catch(rig)
    with simulator.outage():
        wait_until(lambda: rig.job(after)["status"] == "unconfirmed", what="its answer is lost")
    rig.wait_for_all(80)
    assert (rig.job(before)["submits"], rig.job(after)["submits"]) == ("2", "1")
    assert judge(rig) == []
