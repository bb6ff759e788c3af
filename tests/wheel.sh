#!/bin/sh
# What a user does with the installed package, in an empty folder: no file of the checkout is at hand.
set -eu
here=$(mktemp -d)
cd "$here"
offline-mbrl --version
offline-mbrl train mopo hopper-medium --source synthetic --size 500 --steps 40 --evaluate-every 20 --episodes 2 --seeds 2 \
  --set 'hidden=[8,8]' --set batch_size=16 --set rollout_batch=20 --set rollout_every=10 --set 'dynamics.hidden=[8,8]' \
  --set 'dynamics.weight_decay=[0.0,0.0,0.0]' --set dynamics.max_epochs=2 --cache-dir "$here/cache" --out results/mopo
offline-mbrl table
offline-mbrl plot --out curves.pdf
offline-mbrl video results/mopo --seconds 0.5 --size 64 48
offline-mbrl report --out report.html
offline-mbrl export --out scores.parquet
offline-mbrl export results/mopo --policy policy.npz
offline-mbrl evaluate policy.npz --episodes 2
offline-mbrl schema suite >suite.schema.json
python - <<'PYTHON'
import numpy as np
import offline_mbrl as om
policy = om.load_policy("policy.npz")
print(policy(np.zeros(11)))
PYTHON
ls -l
rm -r "$here"
