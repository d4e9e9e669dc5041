# Sourced by the scripts of this repository: installs what is missing, configures and builds.
# shellcheck shell=bash disable=SC2034

# Debian's own tools before others of the same name.
export PATH="/usr/bin:/bin:/usr/sbin:/sbin:$PATH"
root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
readonly build_packages=(g++ cmake ninja-build ccache libeigen3-dev nlohmann-json3-dev
  libcli11-dev libgtest-dev libbenchmark-dev)
readonly check_packages=(clang clang-format-14 clang-tidy-14 doxygen libclang-rt-14-dev
  libopenmpi-dev openmpi-bin libsentencepiece-dev valgrind curl python3 python3-pip)
readonly aarch64_packages=(g++-aarch64-linux-gnu qemu-user googletest)

fail() {
  echo "error: $*" >&2
  exit 1
}

# install_missing PACKAGE...: nothing, and no network, when all are there.
install_missing() {
  local missing=() package elevate=()
  if ! command -v dpkg-query apt-get > /dev/null; then
    echo "no Debian system: these packages, or what they hold, must be there: $*" >&2
    return
  fi
  for package in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null) == installed ]] ||
      missing+=("$package")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  if [[ $(id -u) -ne 0 ]]; then
    command -v sudo > /dev/null ||
      fail "missing packages, and neither root nor sudo to install them: ${missing[*]}"
    elevate=(sudo)
  fi
  echo "== installing ${missing[*]}"
  "${elevate[@]}" apt-get update -q ||
    echo "apt-get update failed; trying with the lists that are there" >&2
  "${elevate[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends "${missing[@]}" ||
    fail "could not install: ${missing[*]}"
}

# As many compilers at once as there are processors, and 1.5 GiB of memory for each.
jobs_at_once() {
  local processors memory
  processors=$(nproc)
  memory=$(awk '/^MemAvailable/ { print int($2 / 1572864) }' /proc/meminfo)
  ((memory < processors)) && processors=$memory
  echo $((processors > 0 ? processors : 1))
}

# build PRESET [TARGET...]: configures and builds build/PRESET; without targets, everything.
build() {
  local preset=$1 cache=$root/build/$1/CMakeCache.txt
  shift
  if [[ -e $cache ]] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$cache"; then
    rm -r "$root/build/$preset"  # the folder was moved here from elsewhere
  fi
  if command -v ccache > /dev/null; then export CMAKE_CXX_COMPILER_LAUNCHER=ccache; fi
  (
    cd "$root" || exit
    cmake --preset "$preset"
    cmake --build --preset "$preset" -j "$(jobs_at_once)" ${1+--target "$@"}
  )
}
