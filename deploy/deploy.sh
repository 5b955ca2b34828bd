#!/usr/bin/env bash
# Creates the deployments of prefect.yaml, or brings them up to date: NEPENTHE_ROOT=/shared/nepenthe deploy/deploy.sh
# NEPENTHE_ROOT is the workspace of their runs, a folder that all machines see or an s3:// address.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [[ "${NEPENTHE_ROOT:-}" != /* && "${NEPENTHE_ROOT:-}" != *://* ]]; then
    # A relative one would lie in a temporary folder of the run, and go with it.
    echo "deploy.sh: expected NEPENTHE_ROOT=/shared/... or s3://..., found ${NEPENTHE_ROOT:-nothing}" >&2
    exit 2
fi
export DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false
exec prefect --no-prompt deploy --prefect-file "$here/prefect.yaml" --all
