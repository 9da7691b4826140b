# Everything that is compiled here goes through this one function, so all objects agree on language, warnings,
# visibility and sanitizers.
function(steppe_target target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES
    CXX_EXTENSIONS OFF
    CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON
    POSITION_INDEPENDENT_CODE ON)
  # -fopenmp-simd honours `#pragma omp simd` and links no OpenMP runtime.
  # -fno-math-errno: sqrt in a loop is an instruction and no call; its values are the same.
  # -fno-trapping-math: nobody reads the flags of floating-point exceptions, and a choice between two values need not be a
  # branch, which would keep its loop from being vectorised; values are the same.
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -fopenmp-simd -fno-math-errno -fno-trapping-math>)
  if(STEPPE_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${STEPPE_SANITIZE} -fno-omit-frame-pointer)
    if(STEPPE_SANITIZE MATCHES undefined)
      target_compile_options(${target} PRIVATE -fno-sanitize-recover=undefined)
    endif()
    target_link_options(${target} PRIVATE -fsanitize=${STEPPE_SANITIZE})
  endif()
endfunction()
