# steppe: everything but MPI. steppe_mpi: the one source file that includes mpi.h.
find_package(Threads REQUIRED)

file(GLOB_RECURSE STEPPE_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cpp/steppe/*.cpp)
list(FILTER STEPPE_SOURCES EXCLUDE REGEX "/comm/mpi_link\\.cpp$")

add_library(steppe STATIC ${STEPPE_SOURCES})
add_library(steppe::steppe ALIAS steppe)
steppe_target(steppe)
set_target_properties(steppe PROPERTIES LINKER_LANGUAGE CXX)
target_include_directories(steppe PUBLIC
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/cpp> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(steppe PUBLIC Threads::Threads)

set(STEPPE_WITH_MPI OFF)
if(NOT STEPPE_MPI STREQUAL "OFF")
  if(STEPPE_MPI STREQUAL "ON")
    find_package(MPI REQUIRED COMPONENTS CXX)
  else()
    find_package(MPI COMPONENTS CXX)
  endif()
  set(STEPPE_WITH_MPI ${MPI_CXX_FOUND})
endif()

if(STEPPE_WITH_MPI AND EXISTS ${PROJECT_SOURCE_DIR}/cpp/steppe/comm/mpi_link.cpp)
  add_library(steppe_mpi STATIC cpp/steppe/comm/mpi_link.cpp)
  add_library(steppe::mpi ALIAS steppe_mpi)
  set_target_properties(steppe_mpi PROPERTIES EXPORT_NAME mpi)
  steppe_target(steppe_mpi)
  target_link_libraries(steppe_mpi PUBLIC steppe MPI::MPI_CXX)
endif()
