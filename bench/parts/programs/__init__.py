"""The sides, each a process: it reads its task as one line of JSON, does it, tells what it took, waits for the end."""
