"""The job record in Redis: keys, scripts (one move or query each), and the typed calls over them."""
