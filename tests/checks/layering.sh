#!/usr/bin/env bash
# The rooms' arrows point one way: fails on any include under include/ that they do not allow.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../../include/eigenformer"

grep -rEn '^[[:space:]]*#[[:space:]]*include' --include='*.hpp' --include='*.inl' . | awk '
  # Each room with all that it may include, further rooms as well as the libraries.
  BEGIN {
    base = "base"
    threading = "threading " base
    kernels = "kernels Eigen " threading
    tensor = "tensor " kernels
    autograd = "autograd " tensor
    nn = "nn " autograd
    io = "io nlohmann " tensor
    models = "models io nlohmann " nn
    tokenizers = "tokenizers io nlohmann " threading
    split("base threading kernels tensor autograd nn io models tokenizers", names, " ")
    split(base "|" threading "|" kernels "|" tensor "|" autograd "|" nn "|" io "|" models "|" \
          tokenizers, lists, "|")
    for (i in names) allow(names[i], lists[i])
    allow("pipelines", "pipelines " models " " tokenizers)
    allow("training", "training pipelines " models " " tokenizers)
  }
  function allow(room, list,   parts, i) {
    split(list, parts, " ")
    rooms[room] = 1
    for (i in parts) allowed[room, parts[i]] = 1
  }
  function refuse(reason) {
    print "include/eigenformer/" file ":" line ": " reason ": " target
    ++refused
  }
  {
    match($0, /^[^:]*:[0-9]+:/)
    place = substr($0, 1, RLENGTH - 1)
    file = substr(place, 3)
    sub(/:[0-9]+$/, "", file)
    line = place
    sub(/.*:/, "", line)
    target = $0
    sub(/^[^<"]*/, "", target)
    path = target
    gsub(/[<">]|[[:space:]]|\/\/.*$/, "", path)
    ++seen

    # An umbrella beside the rooms (nn.hpp) belongs to the room that it is named for.
    room = file
    sub(/\/.*/, "", room)
    sub(/\.hpp$/, "", room)
    if (room == "eigenformer") next
    if (!(room in rooms)) { refuse("no such room as " room); next }

    if (target ~ /^"/) {
      if (path !~ /^eigenformer\//) { refuse("not written from eigenformer/"); next }
      to = path
      sub(/^eigenformer\//, "", to)
      sub(/[\/.].*/, "", to)
      if (!((room, to) in allowed)) refuse(room " may not include " to)
      else if (room == "tokenizers" && to == "io" && path !~ /\/(json|file|folder)\.hpp$/)
        refuse("tokenizers take files and json alone from io")
    } else if (path ~ /^(iostream|regex|filesystem|fstream)$/) {
      refuse("too heavy for a header")
    } else if (path ~ /^(Eigen|nlohmann|unsupported)\//) {
      to = path
      sub(/\/.*/, "", to)
      if (!((room, to) in allowed)) refuse(room " may not include " to)
    } else if (path ~ /\// && path !~ /^(sys|linux|arpa)\//) {
      refuse("unknown library")
    }
  }
  END {
    if (seen == 0) { print "no includes found"; exit 1 }
    if (refused > 0) exit 1
    print seen " includes follow the arrows"
  }'
