"""Who is next: the fair line, the account's limits, and the state of each lane (upstream account)."""
