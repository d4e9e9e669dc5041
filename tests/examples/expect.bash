# Sourced by the scripts beside it, each called with the program to test. Every check that fails is
# printed, and makes the script exit with 1 at its end.
# shellcheck shell=bash
set -euo pipefail
program=$1
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
model=$here/../../examples/model
scratch=$(mktemp -d)
failures=0
trap 'rm -r "$scratch"; [[ $failures -eq 0 ]] || exit 1' EXIT

# expect STATUS ARGUMENT...: runs the program; standard input is the caller's. The output is in $out.
expect() {
  local wanted=$1 status=0
  shift
  command="$(basename "$program") $*"
  "$program" "$@" > "$scratch/out" 2> "$scratch/err" || status=$?
  out=$(< "$scratch/out")
  err=$(< "$scratch/err")
  [[ $status -eq $wanted ]] || complain "exits with $status, not $wanted: $err"
}

# expect_error TEXT ARGUMENT...: exit 1, one line of error that holds TEXT, no output.
expect_error() {
  local text=$1
  shift
  expect 1 "$@"
  [[ $err == 'error: '* && $(wc -l < "$scratch/err") -eq 1 ]] || complain "not one line of error: $err"
  [[ $err == *"$text"* ]] || complain "the error does not name $text: $err"
  [[ -z $out ]] || complain "prints output before it fails: $out"
}

# expect_usage ARGUMENT...: a wrong command line.
expect_usage() {
  expect 2 "$@"
  [[ $err$out == *--help* ]] || complain "prints no usage: $err"
}

complain() {
  echo "$command: $1"
  failures=$((failures + 1))
}

# matches REGEX: the output has a line that the extended regular expression matches.
matches() { grep -qE -- "$1" "$scratch/out" || complain "no match of $1 in: $out"; }

# lines NUMBER: the output has as many lines.
lines() { [[ $(wc -l < "$scratch/out") -eq $1 ]] || complain "not $1 lines: $out"; }

# times NUMBER TEXT: the output holds TEXT as often.
times() {
  local found
  found=$(grep -oF -- "$2" "$scratch/out" | wc -l)
  [[ $found -eq $1 ]] || complain "$found times $2, not $1: $out"
}

# with_tokenizer FIXTURE [ARCHITECTURE]: a copy of that folder of model fixtures, with another
# architecture if one is given, and a tokenizer of three letters. Its path is in $folder.
with_tokenizer() {
  folder=$(mktemp -d -p "$scratch")
  cp "$here/../fixtures/models/$1/"{config.json,model.safetensors} "$folder"
  [[ -z ${2:-} ]] || sed -Ei "/architectures/,/\]/s/\"[A-Za-z]+For[A-Za-z]+\"/\"$2\"/" "$folder/config.json"
  echo '{"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4, "b": 5, "c": 6}' > "$folder/vocab.json"
  echo '#version: 0.2' > "$folder/merges.txt"
}

# What every program does with a wrong command line, and --help.
expect_common() {
  expect 0 --help < /dev/null
  matches '--model'
  expect_usage --no-such-option < /dev/null
  expect_usage --threads two < /dev/null
}
