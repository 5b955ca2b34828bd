#!/usr/bin/env bash
# Starts a Prefect server on PostgreSQL:
#   PREFECT_API_DATABASE_CONNECTION_URL=postgresql+asyncpg://USER:PASSWORD@HOST/DATABASE deploy/server.sh
# It listens on loopback; NEPENTHE_SERVER_HOST=0.0.0.0 opens it to the cluster, and then PREFECT_SERVER_API_AUTH_STRING
# should hold user:password, here and, as PREFECT_API_AUTH_STRING, on every machine of the cluster.
set -euo pipefail
if [[ "${PREFECT_API_DATABASE_CONNECTION_URL:-}" != postgresql+asyncpg://* ]]; then
    found=${PREFECT_API_DATABASE_CONNECTION_URL:+another database}
    echo "server.sh: expected PREFECT_API_DATABASE_CONNECTION_URL=postgresql+asyncpg://..., found ${found:-nothing};" \
        "on sqlite two runs at once already get errors" >&2
    exit 2
fi
export PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1
# Who holds a slot of a limit is kept on disk: with the default, in memory, a restart loses the slots that were taken.
export PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE=prefect.server.concurrency.lease_storage.filesystem
exec prefect server start --host "${NEPENTHE_SERVER_HOST:-127.0.0.1}" --port "${NEPENTHE_SERVER_PORT:-4200}"
