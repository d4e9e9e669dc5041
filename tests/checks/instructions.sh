#!/usr/bin/env bash
# Counts the instructions of whole programs, which no other load of the machine changes: a forward
# pass, loading or a tokenizer that became slower shows here. More than a fifth above the figures
# below, which are the release preset's, fails; so much below asks for new ones.
# Usage: instructions.sh FOLDER-OF-THE-EXAMPLES
set -euo pipefail
programs=$(readlink -f "$1")
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.."
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
status=0

# count MILLIONS PROGRAM ARGUMENT...: callgrind knows no AVX-512.
count() {
  local usual=$1 found
  shift
  found=$(EIGENFORMER_ISA=avx2 valgrind --tool=callgrind --callgrind-out-file=/dev/null \
    "$programs/$1" --threads 1 "${@:2}" 2>&1 > /dev/null |
    sed -n 's/.*Collected : //p')
  found=$((found / 1000000))
  echo "$found million instructions (usually $usual): ${*:1:3}"
  if ((found * 10 > usual * 12)); then
    echo "more than a fifth above the usual number" >&2
    status=1
  elif ((found * 10 < usual * 8)); then
    echo "more than a fifth below: write the new number into $(basename "$0")"
  fi
}

verses=tests/fixtures/text/verses.txt
count 80 fill_mask 'In the beginning God created the <mask> and the earth.'
count 63 tokenize --json --input "$verses"
verse=$(head -1 "$verses")
count 156 features --precision float --output "$scratch/out" "$verse"
count 168 features --precision bf16 --output "$scratch/out" "$verse"
count 175 features --precision int8 --output "$scratch/out" "$verse"
exit $status
