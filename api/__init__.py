"""The ingress: REST in, problems and jobs out. Meets the workers in the store and in task names only."""
