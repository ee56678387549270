#!/usr/bin/env bash
# What is to be seen again on an NVIDIA GPU once kernels or backend were changed, in two times eight minutes: tests, paced
# listeners, a server on loopback, steps and what they consist of, distance to float32, kernels, training.
#
#   OUT=FOLDER CUESTREAM_COMMIT=$(git rev-parse --short HEAD) bash benchmarks/gpu_check.sh [PART ...]
#
# Parts, all of them and in this order where none is named, until LIMIT_S (470 s) are over: compile (with the backend's tests)
# paced-small loopback loopback-60 paced-medium profile steps loopback-many tests chain precision kernels training.
# Everything at once is more than that: name those up to steps, then the others. OUT gets log.txt and a JSON of each
# part, written as it goes: what was measured is there when time is cut off. CUESTREAM_COMMIT is for a tree that comes without its
# repository. What Triton compiled is kept in OUT, as compiled.txz: laid into .whl/, it spares the next machine of that kind the
# same minute.
#
# To be prepared: python3 with PyTorch for CUDA, Triton, transformers, ONNX (onnx, onnx-ir, onnxscript, onnxruntime), safetensors,
# typer, rich, prometheus-client, pytest with xdist, hypothesis and filelock. What it lacks, where it reaches no network, lies in
# .whl/ at the root of the tree, for its version of Python: wheels (msgspec, starlette, uvicorn, websockets), and what is too
# large as a wheel as NAME.txz of the unpacked one (av). They are unpacked below /tmp; nothing is installed.
set -u
cd "$(dirname "$0")/.." || exit 2
: "${OUT:?names the folder of the results}"
nvidia-smi -L >/dev/null || exit 2
parts=" $* "
end=$((SECONDS + ${LIMIT_S:-470}))
work=$(mktemp -d) && mkdir -p "$OUT" "$work/site" || exit 2
trap 'rm -rf "$work"' EXIT
export TRITON_CACHE_DIR=${TRITON_CACHE_DIR:-/tmp/cuestream-compiled}
mkdir -p "$TRITON_CACHE_DIR"
[[ -e .whl/compiled.txz ]] && tar -xJf .whl/compiled.txz -C "$TRITON_CACHE_DIR"
for packed in .whl/*.txz; do [[ -e $packed && $packed != */compiled.txz ]] && tar -xJf "$packed" -C "$work/site"; done
for wheel in .whl/*.whl; do [[ -e $wheel ]] && python3 -m zipfile -e "$wheel" "$work/site"; done
export PYTHONPATH=$PWD:$PWD/sdk/python:$work/site PYTHONUNBUFFERED=1
python3 - <<'END' || exit 2
from importlib.util import find_spec
needed = "av msgspec onnxruntime onnxscript prometheus_client rich starlette torch transformers triton typer uvicorn websockets"
lacking = [name for name in needed.split() if find_spec(name) is None]
raise SystemExit(f"not installed: {', '.join(lacking)}" if lacking else 0)
END

wanted() { [[ $parts == "  " || $parts == *" $1 "* ]]; }
try() { # PART SECONDS COMMAND...: at most so long, never beyond the end; whatever comes of it, the next part is tried
  local part=$1 most=$2 left=$((end - SECONDS))
  shift 2
  wanted "$part" || return 0
  ((left < most)) && most=$left
  ((most < 10)) && { echo "== $part: not tried"; return 0; }
  echo "== $part, at most $most s, at $SECONDS"
  timeout -k 5 "$most" "$@" 2>&1
  echo "== $part: rc $?, at $SECONDS"
}
touch "$work/began"
bring() { # NAME: a result of this run, no older one
  find benchmarks/results -name "$1.json" -newer "$work/began" -exec cp {} "$OUT/" ';'
}
gpu=(python3 -m cuestream.gpu.command)
paced=(--counts= --steps 0 --no-peer --context-s 5)
tests=(python3 -m pytest -q -n 12 -p no:cacheprovider -o filterwarnings=default)
{
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
  if wanted loopback || wanted loopback-60 || wanted loopback-many; then
    timeout 200 python3 -c "from pathlib import Path
from export.checkpoint import save_package
from export.random_model import random_package, spec_of
save_package(random_package(spec_of('small')), Path('$work/small'))" &
  fi
  wanted compile && timeout 100 "${tests[@]}" -n 4 tests/engine/test_lockstep.py tests/engine/test_captured.py >"$work/backend" 2>&1 &
  try compile 90 python3 -m benchmarks.chain --compile
  wait
  wanted compile && tail -n 40 "$work/backend"
  if wanted compile; then # of each kernel, without the texts that it was made through
    find "$TRITON_CACHE_DIR" -type f -regextype egrep -regex '.*\.(llir|ttir|ttgir|ptx|source)' -exec truncate -s 0 {} +
    tar -cC "$TRITON_CACHE_DIR" . | xz -T0 >"$OUT/compiled.txz"
  fi
  try paced-small 110 "${gpu[@]}" --size small "${paced[@]}" --listeners 192 --processes 2 --seconds 20 \
    --json "$OUT/gpu-paced-small.json"
  loopback=(python3 -m benchmarks.latency --model "$work/small" --provider torch --seconds 15 --warm-up 4)
  few=(--sessions 16 --starts 5 --processes 4)
  try loopback 110 "${loopback[@]}" "${few[@]}" --lead-ms 120 --name gpu-loopback
  bring gpu-loopback
  try loopback-60 110 "${loopback[@]}" "${few[@]}" --lead-ms 60 --name gpu-loopback-60
  bring gpu-loopback-60
  try paced-medium 120 "${gpu[@]}" --size medium "${paced[@]}" --listeners 64 --seconds 20 \
    --json "$OUT/gpu-paced-medium.json"
  try profile 60 "${gpu[@]}" --size small "${paced[@]}" --listeners 64 --seconds 3 --profile --json "$OUT/gpu-profile.json"
  try steps 130 "${gpu[@]}" --size medium --size small --counts 1,64 --listeners= --steps 1600 \
    --json "$OUT/gpu-steps.json"
  try loopback-many 120 "${loopback[@]}" --sessions 64 --starts 1 --processes 8 --chunk-ms 100 --most-busy 0.9 \
    --name gpu-loopback-many
  bring gpu-loopback-many
  try tests 100 "${tests[@]}" tests/kernels
  try chain 70 python3 -m benchmarks.chain --json "$OUT/gpu-chain.json"
  try precision 110 python3 -m benchmarks.precision --device cuda --name gpu-precision
  bring gpu-precision
  try kernels 60 python3 -m benchmarks.kernels --quick --dtype float16 --json "$OUT/gpu-kernels.json"
  try training 60 python3 -m training.eyes --device cuda --bf16 --videos 20 --steps 500 --out "$work/eyes"
  try training 60 "${tests[@]}" -n 2 tests/training/test_pairs.py
} 2>&1 | tee "$OUT/log.txt"
