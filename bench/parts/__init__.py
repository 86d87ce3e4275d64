"""Single parts beside what one would write for them: polling, copying, ingress, webhooks."""
