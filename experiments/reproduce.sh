#!/bin/sh
# What to run where a GPU is at hand for an hour, cheapest and most informative first, ten minutes at a time: each call
# goes on where the last one stopped. SLICE=600 OUT=results/gpu sh experiments/reproduce.sh
#
# A stage that does not fit into a slice is left at a checkpoint; the same command resumes it. Needs no network: data are
# made by the package's own policies.

set -u
SLICE=${SLICE:-600}
OUT=${OUT:-results/gpu}
RUN=${RUN:-offline-mbrl}
PYTHON=${PYTHON:-python}
HERE=$(dirname "$0")
END=$(($(date +%s) + SLICE))
mkdir -p "$OUT"

left() { echo $((END - $(date +%s))); }

# once NAME COMMAND...: a stage that is done is not repeated; one that runs out of time is stopped at a safe point.
once() {
    name=$1
    shift
    [ -e "$OUT/$name.done" ] && return 0
    [ "$(left)" -lt 60 ] && { echo "next: $name; give the same command again"; exit 0; }
    echo "== $name"
    timeout --signal=TERM --kill-after=60 "$(left)" "$@" && touch "$OUT/$name.done" && return 0
    [ "$(left)" -lt 60 ] && { echo "in work: $name; give the same command again"; exit 0; }
    echo "failed: $name; the stages after it are run all the same" >&2
}

# 1. Does it work here, and how fast is it? Five minutes.
once doctor $RUN doctor
for seeds in 1 4 16 32; do
    once "throughput-$seeds" sh -c "$PYTHON '$HERE/../benchmarks/throughput.py' --seeds $seeds > '$OUT/throughput-$seeds.txt'"
done

# 2. Model-free at the published length: minutes each.
once model_free $RUN sweep "$HERE/evidence/model_free.toml" --out "$OUT/model_free" --device gpu

# 3. MOPO on twelve tasks, four seeds in one program, a million steps.
for robot in halfcheetah hopper walker2d; do
    for level in medium medium-replay medium-expert random; do
        once "mopo-$robot-$level" $RUN train mopo "$robot-$level" --seeds 4 --steps 1000000 --evaluate-every 10000 \
            --precision highest --device gpu --out "$OUT/mopo/$robot-$level"
    done
done

# 4. The report's two tables, small and then as published; then the rest of the field.
once penalties $RUN sweep mopo/penalties --scale small --out "$OUT/mopo/penalties/small" --device gpu
once variants $RUN sweep combo/variants --scale small --out "$OUT/combo/variants/small" --device gpu
once field $RUN sweep field/scores --out "$OUT/field" --device gpu

$RUN verdict "$OUT"
