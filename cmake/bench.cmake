# One program for each file of bench/cpp.
find_package(benchmark REQUIRED)
find_library(STEPPE_SYSTEM_BLAS openblas REQUIRED)

file(GLOB STEPPE_BENCH_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/bench/cpp/*.cpp)
foreach(source IN LISTS STEPPE_BENCH_SOURCES)
  cmake_path(GET source STEM name)
  string(REGEX REPLACE "(_bench)?$" "_bench" program ${name})
  add_executable(${program} ${source})
  steppe_target(${program})
  target_include_directories(${program} PRIVATE ${PROJECT_SOURCE_DIR}/tests/cpp)
  target_link_libraries(${program} PRIVATE steppe benchmark::benchmark benchmark::benchmark_main ${STEPPE_SYSTEM_BLAS})
endforeach()
