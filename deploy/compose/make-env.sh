#!/bin/sh
# Writes .env with fresh keys for docker compose, once; an existing .env is left alone.
set -eu
cd "$(dirname "$0")/../.."
if [ -e .env ]; then
    echo ".env exists already; it needs DARKROOM_API_KEYS, DARKROOM_ADMIN_KEYS, DARKROOM_WEBHOOK_SECRET," \
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY." >&2
    exit 0
fi
random() { head -c "$1" /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }
umask 077
cat >.env <<END
# Leave WAVESPEED_API_KEY empty for the simulated upstream; with a key every job spends money.
WAVESPEED_API_KEY=
WAVESPEED_TIER=
DARKROOM_API_KEYS=local:dk_$(random 24)
DARKROOM_ADMIN_KEYS=operator:dka_$(random 24)
DARKROOM_WEBHOOK_SECRET=whsec_$(head -c 32 /dev/urandom | base64)
DARKROOM_S3_ENDPOINT_URL=http://s3.localhost:9000
DARKROOM_S3_BUCKET=darkroom
AWS_ACCESS_KEY_ID=DARKROOM$(random 6)
AWS_SECRET_ACCESS_KEY=$(random 24)
END
echo ".env written; next: docker compose up --build --wait"
