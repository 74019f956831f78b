
# From here on the same in every script of 'medctx launch slurm'.
set -u
say() { printf 'medctx: %s\n' "$*" >&2; }

mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts[0]}
port=$((20000 + 2 * (SLURM_JOB_ID % 5000))) # no two jobs of one node share it, and it is no port of a connection
scratch=/tmp/medctx-$SLURM_JOB_ID           # short: the names of Ray's sockets lie below it
mkdir -p "$results/launch" "$cache"

# Whoever connects shows the token, which lies on the shared storage and is readable by this user alone.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$results/launch/token-$SLURM_JOB_ID
export RAY_USAGE_STATS_ENABLED=0 MEDCTX_CACHE=$cache
unset RAY_AUTH_TOKEN RAY_ADDRESS
rm -f "$RAY_AUTH_TOKEN_PATH"
(umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$RAY_AUTH_TOKEN_PATH")

address_of() { # where other nodes reach a node: on the node itself, its name may stand for the loopback
  local ip
  ip=$(getent ahostsv4 "$1" | awk 'NR == 1 { print $1 }')
  case $ip in
    "" | 127.*) [ "$ip" = "$1" ] || ip=$(hostname -I | awk '{ print $1 }') ;;
  esac
  printf '%s' "$ip"
}

start_ray() { # ends when it is terminated, and takes all of Ray on this node with it
  exec ray start "$@" --block --node-name="$SLURMD_NODENAME" --node-ip-address="$(address_of "$SLURMD_NODENAME")" \
    --num-cpus="$SLURM_CPUS_ON_NODE" --object-store-memory=268435456 --min-worker-port=0 --max-worker-port=0 \
    --temp-dir="$scratch" --disable-usage-stats --log-color=false
}

driver='' workers='' interrupted='' received=''

# shellcheck disable=SC2317,SC2329 # called by the traps
pause() { # the driver lets every running trial save a checkpoint, and ends with status 75
  interrupted=1 received=$1
  say "received SIG$1, passing it on"
  [ -z "$driver" ] || kill -s "$1" "$driver" 2>/dev/null || true
}
trap 'pause USR1' USR1
trap 'pause TERM' TERM

supervise() { # runs a command and returns its status, however often a signal interrupts waiting for it
  local status
  "$@" &
  driver=$!
  while :; do
    interrupted='' status=0
    wait "$driver" || status=$?
    [ -n "$interrupted" ] || break
  done
  driver=''
  return "$status"
}

stop_ray() {
  local pid
  for pid in $workers $ray_head; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm -f "$RAY_AUTH_TOKEN_PATH"
}

head_address=$(address_of "$head"):$port
say "Ray's head on $head at $head_address, ${#hosts[@]} nodes"
SLURMD_NODENAME=$head start_ray --head --port="$port" --dashboard-host=127.0.0.1 --dashboard-port=$((port + 1)) &
ray_head=$!
trap stop_ray EXIT
if [ "$nodes" -gt 1 ]; then
  export scratch
  export -f start_ray address_of
  srun --nodes=$((nodes - 1)) --ntasks=$((nodes - 1)) --ntasks-per-node=1 --exclude="$head" "${step_options[@]}" \
    --export=ALL --no-kill --kill-on-bad-exit=0 bash -c "start_ray --address=$head_address" &
  workers=$!
fi

status=0
supervise medctx cluster-wait --address "$head_address" --head-pid "$ray_head" --nodes "$nodes" --gpus "$gpus" \
  --names "$(IFS=,; echo "${hosts[*]}")" --timeout "$join_seconds" --shared "$results" --shared "$cache" \
  "${data_options[@]}" || status=$?
if [ "$status" -eq 0 ] && [ -n "$received" ]; then
  status=75 # paused before there was anything to save
elif [ "$status" -eq 0 ]; then
  supervise medctx run "${run_arguments[@]}" --results "$results" "${data_options[@]}" --address "$head_address" ||
    status=$?
fi

trap - EXIT
stop_ray
if [ "$status" -eq 0 ]; then
  srun --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 rm -rf "$scratch" || true
else
  say "ended with status $status; Ray's logs lie in $scratch on each node"
fi
# USR1 comes before the time limit or a pre-emption. After TERM there is nothing to ask for: a pre-empted job is queued
# again by SLURM itself (--requeue), and a cancelled one shall stay cancelled.
if [ "$received" = USR1 ] && { [ "$status" -eq 75 ] || [ "$status" -gt 128 ]; }; then
  say "paused; queued again, to go on from the checkpoints"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
