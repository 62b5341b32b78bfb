#!/usr/bin/env bash
# All that a GPU has to say of the kernels, in about eight minutes: tests, steps and a whole training by kernels and by
# operators, and both beside a single loop and JAX. From the repository's root; needs torch, Triton, numpy and pytest
# (JAX for its arm, Hydra for none of it).
#   bash tests/benchmarks/gpu_session.sh [FOLDER FOR RESULTS]
set -u
cd "$(dirname "$0")/../.."
out=${1:-bench}
mkdir -p "$out"
export OMP_NUM_THREADS=1 PYTHONPATH="tests:.:${PYTHONPATH:-}"
held="timeout 150 python3 -m pytest -q --noconftest -p no:cacheprovider"
# A process a test: on a CPU beside the GPU each takes its time.
$held --collect-only tests/training/test_gpu.py | grep :: | xargs -d '\n' -P 12 -n 1 $held >"$out/gpu.txt" 2>&1 &
$held -m '' tests/kernels tests/nets/test_batch_norm.py >"$out/kernels.txt" 2>&1 &
wait
tail -n 1 "$out/kernels.txt"
echo "test_gpu.py: $(grep -c '^1 passed' "$out/gpu.txt") passed, $(grep -c '^1 failed' "$out/gpu.txt") failed"
grep -h -e '^FAILED' -e '^ERROR' -e '^E  ' "$out/kernels.txt" "$out/gpu.txt" | head -n 40
timeout 220 python3 -m tests.benchmarks.kernel_steps 2>&1 | tee "$out/steps.txt"
timeout 110 python3 -m tests.benchmarks --device cuda --members 96,360,1 --arms c,f,ours,kernels --steps 100 --repeats 3 \
  --out "$out" 2>&1 | tail -n 40 | tee "$out/table.txt"
