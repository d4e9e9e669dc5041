# Doxygen's input filter: a header's first comment becomes the documentation of the file, or of the
# room, if the header is the one that the room is named for; all that is in a header belongs to its
# room, but for the reference twins, which have a namespace of their own. Lines keep their numbers.
BEGIN {
  name = ARGV[1]
  headers = sub(/^.*include\/eigenformer\//, "", name) && sub(/\.hpp$/, "", name)
  room = name
  umbrella = !sub(/\/.*/, "", room)
  about = name == "eigenformer" ? "@namespace eigenformer" : umbrella ? "@defgroup " room " " room : "@file"
}
!headers {
  gsub(/\]\(/, "](../../../")  # from build/reference/html
  gsub(/\]\(\.\.\/\.\.\/\.\.\/http/, "](http")
  print
  next
}
FNR == 1 && /^\/\/ / { print "/// " about }
!begun && /^\/\/ / { sub(/^\/\//, "///"); print; next }
!begun && /^#pragma once/ { begun = 1; next }
{ begun = 1 }
/^namespace eigenformer(::kernels)? \{$/ { $0 = $0 " /** @addtogroup " room " */ /** @{ */" }
/^}  \/\/ namespace eigenformer(::kernels)?$/ { $0 = "/** @} */ " $0 }
{ print }
