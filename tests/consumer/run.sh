#!/usr/bin/env bash
# Builds and runs the consumer with every compiler in every way that a project can take the library
# in: installed and found, fetched, as a subdirectory. The programs of README.md are built with the first.
# usage: run.sh [COMPILER...]; default: g++ clang++
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../../.ci/tools.sh"
[[ $# -gt 0 ]] || set -- g++ clang++

here=$root/tests/consumer
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
if command -v ccache > /dev/null; then export CMAKE_CXX_COMPILER_LAUNCHER=ccache; fi

cmake --preset package -S "$root" -B "$scratch/install" > "$scratch/log" ||
  { cat "$scratch/log"; exit 1; }
cmake --install "$scratch/install" --prefix "$scratch/prefix" > /dev/null

for compiler in "$@"; do
  for way in package fetch subdirectory; do
    build=$scratch/$compiler-$way
    mkdir "$build"
    ln -s "$root/examples" "$build/examples"
    [[ $way != package ]] || awk -v to="$build/readme_" '
      /^```cpp$/ { file = to (++count) ".cpp"; next }
      /^```$/ { file = ""; next }
      file { print > file }' "$root/README.md"
    echo "== $compiler, $way"
    SECONDS=0
    {
      cmake -S "$here" -B "$build" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" \
        -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS=-O2 -DEIGENFORMER_FROM="$way" \
        -DEIGENFORMER_SOURCE="$root" -DFETCHCONTENT_SOURCE_DIR_EIGENFORMER="$root" \
        -DCMAKE_PREFIX_PATH="$scratch/prefix"
      cmake --build "$build" -j "$(jobs_at_once)"
    } > "$scratch/log" 2>&1 || { cat "$scratch/log"; exit 1; }
    "$build/consumer" "$root/examples/model"
    for program in "$build"/readme_?; do
      if [[ -x $program ]]; then (cd "$build" && "$program" > /dev/null); fi
    done
    echo "built and run in $SECONDS s"
  done
done
