# For C++ programs that fill steppe's table of BLAS routines (tests/cpp/system_blas.hpp); the library itself links none.
find_library(STEPPE_SYSTEM_BLAS openblas)

# Leaves out of the list of sources those that need OpenBLAS, where there is none, and says so.
function(steppe_leave_out_blas sources)
  if(STEPPE_SYSTEM_BLAS)
    return()
  endif()
  set(kept ${${sources}})
  foreach(source IN LISTS kept)
    file(STRINGS ${source} includes REGEX "system_blas\\.hpp")
    if(includes)
      list(REMOVE_ITEM kept ${source})
      message(WARNING "${source} is left out: it needs OpenBLAS (apt-get install libopenblas-dev)")
    endif()
  endforeach()
  set(${sources} ${kept} PARENT_SCOPE)
endfunction()
