#!/usr/bin/env bash
# Builds the fuzz targets and runs each, as many at once as there are processors. Inputs that do
# something new are kept in build/fuzz/corpus for the next run, those that fail in build/fuzz.
# usage: run.sh [SECONDS for each, 10] [TARGET...]
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../../.ci/tools.sh"
here=$root/tests/fuzz
build=$root/build/fuzz
seconds=${1:-10}
targets=("${@:2}")
if [[ ${#targets[@]} -eq 0 ]]; then
  mapfile -t targets < <(sed -nE 's/^const Target .*\("(.*)",.*/\1/p' "$here"/*.cpp)
fi

install_missing "${build_packages[@]}" "${check_packages[@]}"
build fuzz

# Seeds that are files of the tests' fixtures.
seeds=$build/seeds
mkdir -p "$seeds"/{config,safetensors,model,sentencepiece,tokenizer_json}
models=$root/tests/fixtures/models
for config in "$models"/{*,bert/*}/config.json; do
  name=${config#"$models"/} && name=${name%/config.json}
  cp "$config" "$seeds/config/${name/\//_}"
done
cp "$root"/tests/fixtures/io/safetensors/*.safetensors "$seeds/safetensors"
cp "$root"/tests/fixtures/tokenizers/sentencepiece/*.model "$seeds/sentencepiece"
cp "$root"/tests/fixtures/sentences/encoder/tokenizer.json "$seeds/tokenizer_json"
for name in no_layers decoder_names_only bert/base_no_pooler bert/masked_lm; do
  { cat "$models/$name/config.json"; printf '\n====\n'; cat "$models/$name/model.safetensors"; } \
    > "$seeds/model/${name/\//_}"
done

# The files that a target writes for each input: in memory, where there is such a folder.
memory=/dev/shm
[[ -w $memory ]] || memory=${TMPDIR:-/tmp}
scratch=$(mktemp -d -p "$memory")
trap 'rm -r "$scratch"' EXIT

fuzz() {
  local target=$1 corpus=$build/corpus/$1 log=$build/$1.log folder program=files
  local folders=("$corpus")
  if grep -qE "^set\(models .*\<$target\>" "$here/CMakeLists.txt"; then program=models; fi
  mkdir -p "$corpus"
  for folder in "$here/seeds/$target" "$seeds/$target"; do
    if [[ -d $folder ]]; then folders+=("$folder"); fi
  done
  if FUZZ_TARGET=$target TMPDIR=$scratch ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=16 \
    UBSAN_OPTIONS=print_stacktrace=1 "$build/tests/fuzz/fuzz_$program" \
    -max_total_time="$seconds" -timeout=60 -rss_limit_mb=768 -malloc_limit_mb=80 -max_len=32768 \
    -dict="$here/keys.dict" -artifact_prefix="$build/$target-" -print_final_stats=1 \
    "${folders[@]}" > "$log" 2>&1; then
    echo "$target: $(awk '/number_of_executed_units/ { print $2 }' "$log") inputs, none fails"
  else
    tail -n 60 "$log"
    echo "$target: FAILED"
    return 1
  fi
}

status=0
running=()
wait_for_one() {
  wait "${running[0]}" || status=1
  running=("${running[@]:1}")
}
for target in "${targets[@]}"; do
  fuzz "$target" &
  running+=($!)
  if [[ ${#running[@]} -ge $(nproc) ]]; then wait_for_one; fi
done
while [[ ${#running[@]} -gt 0 ]]; do wait_for_one; done
exit $status
