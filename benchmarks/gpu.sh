#!/bin/sh
# Figures that need a GPU, for docs/results.md. Usage: benchmarks/gpu.sh DATA_DIR [OUT]
# Each training has a fixed budget; the figures are those of `evaluate` on the test split.
set -eu
data=$1
out=${2:-runs/gpu}
fast="--precision bf16 --compile"

# static MNIST: overfitting is the enemy, hence dropout and a slow average of the weights
simulacra train gated-pixelcnn binarized-mnist --data-dir "$data" --budget 10m --batch 64 $fast \
  --set layers=14 --set channels=96 --set dropout=0.3 --ema 0.9995 --out "$out/static"
simulacra evaluate "$out/static" --data-dir "$data"

# dynamic MNIST: a fresh draw each epoch, which is its own regularisation
simulacra train gated-pixelcnn binarized-mnist-dynamic --data-dir "$data" --budget 10m \
  --batch 64 $fast --set layers=14 --set channels=96 --set dropout=0.1 --ema 0.9995 --out "$out/dynamic"
simulacra evaluate "$out/dynamic" --data-dir "$data"

# CIFAR-10: the images at hand, of which SOURCE.md says how many are test images
simulacra train gated-pixelcnn cifar10 --data-dir "$data" --budget 20m --batch 64 $fast \
  --set layers=15 --set channels=192 --set dropout=0.2 --lr 1e-3 --ema 0.9995 --out "$out/cifar"
simulacra evaluate "$out/cifar" --data-dir "$data"
