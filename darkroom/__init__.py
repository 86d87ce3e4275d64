"""What the ingress and the workers share: the job, its record, the line, the timers and the ports to the outside.

Imports neither `api` nor `worker`.
"""
