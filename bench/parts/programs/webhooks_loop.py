"""A plain loop of POSTs by one httpx client."""

import httpx

from bench.parts.programs.telling import Taking, task


def main() -> None:
    """Post the body so many times, to each address in turn."""
    given = task()
    urls, body = given["urls"], given["body"]
    with httpx.Client(timeout=15) as client:

        def post(number: int) -> None:
            headers = {"webhook-id": f"evt_{number}"}
            client.post(urls[number % len(urls)], json=body, headers=headers).raise_for_status()

        for number in range(given["warm_up"]):
            post(number)
        with Taking() as taking:
            for number in range(given["warm_up"], given["warm_up"] + given["posts"]):
                post(number)
    taking.tell(given["posts"])


main()
