#!/usr/bin/env bash
# Installs what is missing, builds everything, runs all tests. Arguments go to ctest (-R NAME, ...).
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.ci/tools.sh"

install_missing "${build_packages[@]}"
build release
cd "$root"
ctest --preset release -j "$(nproc)" "$@"
