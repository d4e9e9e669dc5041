#!/usr/bin/env bash
# The tree's own rules: what lies at the top, run bits, sizes, no machine paths, `#pragma once`.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.."
problems=0

# complain TEXT: reads lines, each a place where TEXT holds.
complain() {
  local place
  while IFS= read -r place; do
    echo "$1: $place"
    problems=$((problems + 1))
  done
}

files() {
  if command -v git > /dev/null && git rev-parse --git-dir > /dev/null 2>&1; then
    git ls-files
  else
    find . -type f -not -path './build/*' -not -path './.git/*' | sed 's|^\./||'
  fi
}

complain 'not part of the layout' < <(files | cut -d/ -f1 | sort -u | grep -vE \
  '^(include|tests|benchmarks|examples|CMakeLists\.txt|CMakePresets\.json|LICENSE|README\.md|\..*)$')
complain 'missing' < <(for file in README.md LICENSE CMakeLists.txt; do [[ -e $file ]] || echo "$file"; done)
complain 'not executable' < <(for script in .ci/run examples/demo.sh tests/run.sh; do
  [[ -x $script ]] || echo "$script"
done)
complain 'larger than 1 MiB' < <(files | grep -v '^examples/model/' | while IFS= read -r file; do
  [[ ! -e $file || $(stat -c %s "$file") -le 1048576 ]] || echo "$file"
done)
complain 'machine path' < <(files | grep -E '^(include|tests|examples|benchmarks|\.ci|\.cmake)/|^[^/]*$' |
  grep -vE '/fixtures/|^tests/checks/layout\.sh$' | tr '\n' '\0' |
  xargs -0 grep -InE '/(work|root|home|tmp)/' 2> /dev/null | grep -vE 'mktemp|TMPDIR')
complain 'no #pragma once' < <(files | grep -E '^include/.*\.hpp$' | tr '\n' '\0' |
  xargs -0 grep -L '^#pragma once' | grep -vE '/(begin|end)[a-z0-9_]*\.hpp$|\.inl\.hpp$')

[[ $problems -eq 0 ]] && echo 'the layout is right'
