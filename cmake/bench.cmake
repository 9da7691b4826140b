# One program for each file of bench/cpp.
find_package(benchmark REQUIRED)
include(cmake/system_blas.cmake)

file(GLOB STEPPE_BENCH_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/bench/cpp/*.cpp)
steppe_leave_out_blas(STEPPE_BENCH_SOURCES)
foreach(source IN LISTS STEPPE_BENCH_SOURCES)
  cmake_path(GET source STEM name)
  string(REGEX REPLACE "(_bench)?$" "_bench" program ${name})
  add_executable(${program} ${source})
  steppe_target(${program})
  target_include_directories(${program} PRIVATE ${PROJECT_SOURCE_DIR}/tests/cpp)
  target_link_libraries(${program} PRIVATE steppe benchmark::benchmark benchmark::benchmark_main
                                           $<$<BOOL:${STEPPE_SYSTEM_BLAS}>:${STEPPE_SYSTEM_BLAS}>)
endforeach()
