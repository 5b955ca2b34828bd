#!/usr/bin/env bash
# One flow run as one Slurm job. sbatch hands on the environment that the worker prepared, the run's id in it.
# Preempted, or its node lost, the job goes back into Slurm's queue and carries out the same run again, from cache.
set -euo pipefail
unset PREFECT__CONTROL_PORT PREFECT__CONTROL_TOKEN # the worker's, on another machine
run=${PREFECT__FLOW_RUN_ID:?expected to be submitted by a worker of the gpu pool}

ended() {
    prefect flow-run inspect "$run" --output json | grep -qE '"type": *"(COMPLETED|CANCELLED|CRASHED|FAILED)"'
}

if [[ ${SLURM_RESTART_COUNT:-0} -gt 0 ]] && ended; then
    echo "the flow run $run has ended while this job waited in the queue"
    exit 0
fi

# Slurm announces the end with SIGTERM, to every process of the job. Prefect would mark the run as crashed; it shall
# only wait, so the signal is kept from it, and the work goes on until SIGKILL. Meanwhile the server hears why there
# will be no heartbeats (automation.yaml).
related='[{"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.nepenthe"}]'
trap 'prefect event emit prefect.flow-run.requeued --resource-id "prefect.flow-run.$run" --related "$related"' TERM
env --block-signal=TERM prefect flow-run execute &
until wait $!; code=$? && ! kill -0 $! 2>/dev/null; do :; done # a trapped signal ends `wait`, not the run
exit "$code"
