# One program with every C++ test, and one ctest entry for each file of tests. Tests under tests/cpp/mpi/ need
# ranks, those under tests/cpp/gpu/ a device.
find_path(DOCTEST_INCLUDE_DIR doctest/doctest.h REQUIRED)
include(cmake/system_blas.cmake)

file(GLOB_RECURSE STEPPE_TEST_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/cpp/*.cpp)
list(FILTER STEPPE_TEST_SOURCES EXCLUDE REGEX "/tests/cpp/(main\\.cpp|mpi/|gpu/)")
steppe_leave_out_blas(STEPPE_TEST_SOURCES)
file(GLOB STEPPE_MPI_TEST_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/cpp/mpi/*.cpp)

# Kernels that run on the host there ask nvcc to unroll their loops.
set_source_files_properties(tests/cpp/cuda/test_sweep.cpp PROPERTIES COMPILE_OPTIONS -Wno-unknown-pragmas)

function(steppe_test_program program)
  add_executable(${program} ${ARGN})
  steppe_target(${program})
  # The library keeps its optimisation; the tests' own instantiations of the engine would double the time of a build.
  target_compile_options(${program} PRIVATE -O1)
  target_include_directories(${program} PRIVATE ${DOCTEST_INCLUDE_DIR} ${PROJECT_SOURCE_DIR}/tests/cpp ${PROJECT_SOURCE_DIR})
endfunction()

steppe_test_program(steppe_tests tests/cpp/main.cpp ${STEPPE_TEST_SOURCES})
target_link_libraries(steppe_tests PRIVATE steppe $<$<BOOL:${STEPPE_SYSTEM_BLAS}>:${STEPPE_SYSTEM_BLAS}>)
foreach(source IN LISTS STEPPE_TEST_SOURCES)
  cmake_path(RELATIVE_PATH source BASE_DIRECTORY ${PROJECT_SOURCE_DIR}/tests/cpp OUTPUT_VARIABLE name)
  if(name MATCHES "^(.*/)?test_(.*)\\.cpp$")
    add_test(NAME ${CMAKE_MATCH_1}${CMAKE_MATCH_2} COMMAND steppe_tests --source-file=${source})
    set_tests_properties(${CMAKE_MATCH_1}${CMAKE_MATCH_2} PROPERTIES TIMEOUT 300)
  endif()
endforeach()

if(TARGET steppe_mpi AND STEPPE_MPI_TEST_SOURCES)
  steppe_test_program(steppe_mpi_tests ${STEPPE_MPI_TEST_SOURCES} tests/cpp/comm/link_cases.cpp)
  target_link_libraries(steppe_mpi_tests PRIVATE steppe_mpi)
  foreach(ranks RANGE 1 3)
    add_test(NAME mpi_${ranks} COMMAND ${MPIEXEC_EXECUTABLE} ${MPIEXEC_NUMPROC_FLAG} ${ranks}
             $<TARGET_FILE:steppe_mpi_tests>)
    set_tests_properties(mpi_${ranks} PROPERTIES TIMEOUT 300 PROCESSORS 2)
  endforeach()
endif()

if(TARGET steppe_cuda)
  file(GLOB STEPPE_GPU_TEST_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/cpp/gpu/*.cpp)
  steppe_test_program(steppe_gpu_tests ${STEPPE_GPU_TEST_SOURCES})
  target_link_libraries(steppe_gpu_tests PRIVATE steppe_cuda)
  add_test(NAME gpu COMMAND steppe_gpu_tests)
  set_tests_properties(gpu PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 77)
endif()

if(NOT STEPPE_SANITIZE)
  add_test(NAME cpp_consumer COMMAND ${CMAKE_COMMAND}
    -D BUILD_DIR=${PROJECT_BINARY_DIR} -D GENERATOR=${CMAKE_GENERATOR} -D COMPILER=${CMAKE_CXX_COMPILER}
    -D MPI=$<TARGET_EXISTS:steppe_mpi> -P ${PROJECT_SOURCE_DIR}/tests/cpp_consumer/check.cmake)
endif()
