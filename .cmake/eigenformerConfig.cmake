# find_package(eigenformer): the target eigenformer::eigenformer and what it needs.
include(CMakeFindDependencyMacro)
find_dependency(Eigen3 3.4)
find_dependency(Threads)
find_dependency(nlohmann_json 3.10)

include("${CMAKE_CURRENT_LIST_DIR}/eigenformerTargets.cmake")
