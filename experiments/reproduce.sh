#!/bin/sh
# What to run where a GPU is at hand for an hour, cheapest and most informative first, ten minutes at a time: each call
# goes on where the last one stopped, and exits with 75 while something is left, with 0 when all is done.
#
#   SLICE=600 OUT=results/gpu sh experiments/reproduce.sh
#   DEVICE=cpu SCALE=smoke OUT=/tmp/try sh experiments/reproduce.sh    # tries every stage without a GPU: it trains nothing
#
# A stage that does not fit into a slice is left at a checkpoint; the same command resumes it. Needs no network: data are
# made by the package's own policies.

set -u
SLICE=${SLICE:-600}
OUT=${OUT:-results/gpu}
DEVICE=${DEVICE:-gpu}
SCALE=${SCALE:-full} # smoke, small or full; the suites of evidence have no small
RUN=${RUN:-offline-mbrl}
PYTHON=${PYTHON:-python}
HERE=$(dirname "$0")
LATER=75 # EX_TEMPFAIL: the same command goes on
END=$(($(date +%s) + SLICE))
mkdir -p "$OUT"

left() { echo $((END - $(date +%s))); }

# once NAME COMMAND...: a stage that is done is not repeated; one that runs out of time is stopped at a safe point, and
# one that fails is not tried again in this slice but in the next.
failed=""
once() {
    name=$1
    shift
    [ -e "$OUT/$name.done" ] && return 0
    [ "$(left)" -lt 5 ] && { echo "next: $name; give the same command again"; exit $LATER; }
    echo "== $name"
    timeout --signal=TERM --kill-after=60 "$(left)" "$@" && touch "$OUT/$name.done" && return 0
    [ "$(left)" -lt 5 ] && { echo "in work: $name; give the same command again"; exit $LATER; }
    echo "failed: $name; the stages after it are run all the same" >&2
    failed="$failed $name"
}

# sweep NAME SUITE SCALE: its records in a folder of that name.
sweep() { once "$1" $RUN sweep "$2" --scale "$3" --out "$OUT/$1" --device "$DEVICE"; }

if [ "$SCALE" = smoke ]; then
    seeds="1 4" sizes="--updates 10 --rollout-batch 50 --rows 1000 --evaluation-steps 5 --repeats 1"
    first=smoke tables=smoke
else
    seeds="1 4 16 32" sizes="" first=full tables=small
fi

# 1. Does it work here, and how fast is it? Five minutes.
once doctor $RUN doctor
for count in $seeds; do
    once "throughput-$count" $PYTHON "$HERE/../benchmarks/throughput.py" --seeds "$count" $sizes --out "$OUT/throughput-$count.json"
done

# 2. Cloning on twelve tasks, minutes; MOPO on them, four seeds, a million steps; then TD3+BC and IQL.
sweep bc evidence/bc "$first"
sweep mopo_twelve evidence/mopo_twelve "$first"
sweep model_free evidence/model_free "$first"

# 3. The report's two tables, small (as published: SCALE=full in their own sweeps); then the whole field.
sweep penalties mopo/penalties "$tables"
sweep variants combo/variants "$tables"
sweep field field/scores "$SCALE"

$RUN verdict "$OUT"
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
