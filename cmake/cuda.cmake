# steppe_cuda: the kernels and launches of cuda/, where nvcc is found (or must be). cuBLAS is loaded when it is first
# needed, so only the toolkit's compiler and runtime are; the runtime is linked statically.
if(STEPPE_CUDA STREQUAL "OFF")
  return()
endif()
include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  if(STEPPE_CUDA STREQUAL "ON")
    message(FATAL_ERROR "STEPPE_CUDA is ON and nvcc was not found: put it on PATH or set CMAKE_CUDA_COMPILER")
  endif()
  message(STATUS "steppe without CUDA: nvcc was not found")
  return()
endif()
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90)  # code for both, and PTX of the newer for those that come
endif()
enable_language(CUDA)

file(GLOB STEPPE_CUDA_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cuda/*.cu ${PROJECT_SOURCE_DIR}/cuda/*.cpp)
add_library(steppe_cuda STATIC ${STEPPE_CUDA_SOURCES})
steppe_target(steppe_cuda)
set_target_properties(steppe_cuda PROPERTIES
  CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON CUDA_EXTENSIONS OFF CUDA_VISIBILITY_PRESET hidden
  CUDA_RUNTIME_LIBRARY Static)
target_include_directories(steppe_cuda PUBLIC ${PROJECT_SOURCE_DIR})
# 554: a view of const elements has a conversion to itself, which nobody calls.
target_compile_options(steppe_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-diag-suppress=554>)
target_link_libraries(steppe_cuda PUBLIC steppe ${CMAKE_DL_LIBS})
