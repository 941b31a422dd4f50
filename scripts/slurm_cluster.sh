#!/usr/bin/env bash
# A real Slurm of two nodes on this machine, for tests: scripts/slurm_cluster.sh start|stop|kill-node N|status
# Needs root and, on Debian: apt-get install -y --no-install-recommends slurm-wlm munge
set -euo pipefail
BASE=${SLURM_TEST_BASE:-/tmp/rnndrop-slurm}
export SLURM_CONF=$BASE/slurm.conf

start() {
    [ "$(id -u)" = 0 ] || { echo "slurm_cluster: needs root" >&2; exit 3; }
    command -v slurmctld >/dev/null && command -v slurmd >/dev/null && [ -x /usr/sbin/munged ] ||
        { echo "slurm_cluster: needs the packages slurm-wlm and munge" >&2; exit 3; }
    mkdir -p "$BASE"/{state,log,run,spool-n1,spool-n2} /run/munge
    chmod 755 "$BASE"
    chown slurm: "$BASE"/{state,log,run,spool-n1,spool-n2}
    chown munge: /run/munge
    [ -f /etc/munge/munge.key ] || { dd if=/dev/urandom of=/etc/munge/munge.key bs=1024 count=1 status=none
                                     chown munge: /etc/munge/munge.key; chmod 400 /etc/munge/munge.key; }
    local host; host=$(hostname -s)
    cat >"$SLURM_CONF" <<CONF
ClusterName=rnndrop
SlurmctldHost=$host(127.0.0.1)
SlurmUser=slurm
AuthType=auth/munge
CredType=cred/munge
StateSaveLocation=$BASE/state
SlurmdSpoolDir=$BASE/spool-%n
SlurmctldPidFile=$BASE/run/slurmctld.pid
SlurmdPidFile=$BASE/run/slurmd-%n.pid
SlurmctldLogFile=$BASE/log/slurmctld.log
SlurmdLogFile=$BASE/log/slurmd-%n.log
SlurmctldPort=16817
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,batch_sched_delay=1
ReturnToService=2
SlurmdTimeout=20
KillWait=5
MpiDefault=none
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=17001 CPUs=1 RealMemory=4000 State=UNKNOWN
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=17002 CPUs=1 RealMemory=4000 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
    munge -n >/dev/null 2>&1 || runuser -u munge -- /usr/sbin/munged
    slurmctld
    slurmd -N n1
    slurmd -N n2
    for _ in $(seq 100); do
        [ "$(sinfo --noheader --Node --format=%t 2>/dev/null | grep -c '^idle$')" = 2 ] && { status; return; }
        sleep 0.1
    done
    echo "slurm_cluster: the nodes did not come up; see $BASE/log" >&2
    exit 1
}

# The steps that a node runs: those slurmstepd that write to its log.
steps() {
    local step
    for step in $(pgrep -x slurmstepd || true); do
        if readlink "/proc/$step/fd/"* 2>/dev/null | grep -q "^$BASE/log/slurmd-$1.log"; then echo "$step"; fi
    done
}

# Everything of a node dies at once, as with a power failure: the daemon, its steps and what they run.
kill_node() {
    local process doomed
    doomed="$(cat "$BASE/run/slurmd-$1.pid") $(steps "$1")"
    for process in $(pgrep -f "submitit.core._submit" || true); do
        if tr '\0' '\n' <"/proc/$process/environ" 2>/dev/null | grep -q "^SLURM_CONF=$SLURM_CONF$" &&
            tr '\0' '\n' <"/proc/$process/environ" 2>/dev/null | grep -q "^SLURMD_NODENAME=$1$"; then
            doomed="$doomed $process"
        fi
    done
    # shellcheck disable=SC2086
    kill -9 $doomed 2>/dev/null || true
}

stop() {
    kill_node n1 2>/dev/null || true
    kill_node n2 2>/dev/null || true
    [ -f "$BASE/run/slurmctld.pid" ] && kill -9 "$(cat "$BASE/run/slurmctld.pid")" 2>/dev/null || true
    sleep 0.2
    rm -rf "$BASE"
}

status() { sinfo --noheader --Node --format='%N %t'; }

case ${1:-} in
    start) start ;;
    stop) stop ;;
    status) status ;;
    kill-node) kill_node "$2" ;;
    *) echo "usage: $0 start|stop|status|kill-node N" >&2; exit 2 ;;
esac
