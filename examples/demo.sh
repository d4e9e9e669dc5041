#!/usr/bin/env bash
# Fills in <mask> with the small model that ships with the examples: first in a few sentences, then
# in your own, given as arguments or typed in. Installs and builds what is missing.
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.ci/tools.sh"

install_missing "${build_packages[@]}"
build release fill_mask
fill_mask() { "$root/build/release/examples/fill_mask" --top 5 "$@"; }

echo
fill_mask 'In the beginning God created the <mask> and the earth.' \
  'And Jesus answered and <mask> unto them,' \
  'The children of <mask> did evil in the sight of the LORD.' \
  'And he was five and twenty <mask> old when he began to reign.'

echo
echo 'This model was trained by pretrain alone: examples/model/README.md has the command lines.'

if [[ $# -gt 0 ]]; then
  echo
  fill_mask "$@"
elif [[ -t 0 ]]; then
  echo
  while read -r -p 'Your sentence with <mask>, or nothing to end: ' text && [[ -n $text ]]; do
    fill_mask "$text" || true
  done
fi
