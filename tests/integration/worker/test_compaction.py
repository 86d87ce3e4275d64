"""A worker compacts what its tenant's timer finds, and the API answers as before."""

from darkroom.store import keys
from tests.support.fleet import Fleet
from tests.support.waiting import wait_until


def test_a_completed_job_is_compacted_in_time_and_answers_as_before(fleet: Fleet) -> None:
    fleet.start_api()
    fleet.start_worker(DARKROOM_COMPACT_AFTER_SECONDS=1)
    job = fleet.wait_for(fleet.submit("a fox", custom_id="panel-1", metadata={"order": "7"}))
    job_id = str(job["id"])

    def compacted() -> bool:
        fleet.redis.zadd(keys.DUE, {"t:acme:completed:": 0})
        return bool(fleet.redis.exists(keys.compacted(job_id)))

    wait_until(compacted, what="the job to be compacted")
    assert not fleet.redis.exists(keys.job(job_id))
    after = fleet.job(job_id)
    for shown in (job, after):
        for output in shown["outputs"]:
            del output["url"], output["url_expires_at"]
    assert after == job
    answer = fleet.client.get("/v1/jobs", params={"custom_id": "panel-1"}).json()
    assert [one["id"] for one in answer["data"]] == [job_id]
    assert fleet.client.post(f"/v1/jobs/{job_id}/cancel").json()["code"] == "already_finished"
    for last, code in (("", 200), ("1-3", 200), ("1-5", 204)):
        events = fleet.client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": last} if last else {})
        assert (events.status_code, '"status":"completed"' in events.text) == (code, code == 200)
