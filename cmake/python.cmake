# The extension modules of the Python package: _core (neither MPI nor CUDA), _mpi (one file, linked to the
# MPI found here) and _cuda.
find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)
find_package(pybind11 CONFIG REQUIRED)

file(GLOB STEPPE_BINDINGS CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/bindings/*.cpp)
list(FILTER STEPPE_BINDINGS EXCLUDE REGEX "/(mpi|cuda)_module\\.cpp$")

function(steppe_python_module module)
  # NO_EXTRAS: link-time optimisation would undo the function clones of STEPPE_MULTIVERSION.
  pybind11_add_module(${module} MODULE NO_EXTRAS ${ARGN})
  steppe_target(${module})
  target_include_directories(${module} PRIVATE ${PROJECT_SOURCE_DIR})
  # The headers of another MPI or of a build folder are nobody's business at run time.
  set_target_properties(${module} PROPERTIES INSTALL_RPATH "" INSTALL_RPATH_USE_LINK_PATH OFF)
  install(TARGETS ${module} LIBRARY DESTINATION steppe COMPONENT python)
endfunction()

steppe_python_module(_core ${STEPPE_BINDINGS})
target_link_libraries(_core PRIVATE steppe)
string(TOUPPER "${CMAKE_BUILD_TYPE}" STEPPE_CONFIG)
target_compile_definitions(_core PRIVATE
  STEPPE_VERSION="${PROJECT_VERSION}"
  STEPPE_COMPILER="${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}"
  STEPPE_FLAGS="${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${STEPPE_CONFIG}} -fopenmp-simd"
  STEPPE_SANITIZERS="${STEPPE_SANITIZE}")

if(TARGET steppe_mpi)
  steppe_python_module(_mpi bindings/mpi_module.cpp)
  # By path, not by MPI::MPI_CXX: the compiler wrapper's link flags name a RUNPATH, which in an isolated build is a
  # temporary folder. At run time the library is the one mpi4py has loaded.
  target_link_libraries(_mpi PRIVATE $<TARGET_FILE:steppe_mpi> $<TARGET_FILE:steppe> ${MPI_CXX_LIBRARIES})
  target_include_directories(_mpi PRIVATE ${PROJECT_SOURCE_DIR}/cpp)
  add_dependencies(_mpi steppe_mpi steppe)
endif()

if(TARGET steppe_cuda)
  steppe_python_module(_cuda bindings/cuda_module.cpp)
  target_link_libraries(_cuda PRIVATE steppe_cuda)
endif()
