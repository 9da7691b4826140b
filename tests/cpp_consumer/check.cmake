# Installs the C++ library into an empty prefix, builds a project against it by find_package, and runs that.
set(work ${BUILD_DIR}/cpp_consumer)
file(REMOVE_RECURSE ${work})

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

run(${CMAKE_COMMAND} --install ${BUILD_DIR} --prefix ${work}/prefix --component cpp)
run(${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR} -B ${work}/build -G ${GENERATOR}
    -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_PREFIX_PATH=${work}/prefix -DWITH_MPI=${MPI})
run(${CMAKE_COMMAND} --build ${work}/build)
run(${work}/build/consumer)
if(MPI)
  run(${work}/build/mpi_consumer)
endif()
