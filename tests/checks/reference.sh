#!/usr/bin/env bash
# Makes the API reference in build/reference/html with doxygen. A warning fails, such as one of
# something public without a docstring.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.."
rm -rf build/reference
mkdir -p build/reference
doxygen .doxygen
echo 'the reference is in build/reference/html/index.html'
