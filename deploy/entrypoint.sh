#!/bin/sh
# With no account's key, work against the simulator if one is named; then become the command.
set -eu
if [ -z "${WAVESPEED_API_KEY:-}" ] && [ -n "${DARKROOM_SIMULATOR_URL:-}" ]; then
    export WAVESPEED_API_KEY=simulated WAVESPEED_BASE_URL="$DARKROOM_SIMULATOR_URL"
    export WAVESPEED_TIER="${WAVESPEED_TIER:-ultra}"
    echo "*** SIMULATED UPSTREAM: no real image is generated and no money is spent ***" >&2
fi
exec "$@"
