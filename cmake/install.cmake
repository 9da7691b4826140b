# The CMake package: find_package(steppe [COMPONENTS mpi]) gives steppe::steppe and, where built, steppe::mpi.
include(CMakePackageConfigHelpers)
set(STEPPE_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/steppe)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/cpp/steppe DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT cpp
        FILES_MATCHING PATTERN "*.hpp")
install(TARGETS steppe EXPORT steppe ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT cpp)
install(EXPORT steppe FILE steppe-targets.cmake NAMESPACE steppe:: DESTINATION ${STEPPE_PACKAGE_DIR} COMPONENT cpp)
if(TARGET steppe_mpi)
  install(TARGETS steppe_mpi EXPORT steppe_mpi ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT cpp)
  install(EXPORT steppe_mpi FILE steppe-mpi-targets.cmake NAMESPACE steppe:: DESTINATION ${STEPPE_PACKAGE_DIR}
          COMPONENT cpp)
endif()

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/steppe-config.cmake.in
  ${PROJECT_BINARY_DIR}/steppe-config.cmake INSTALL_DESTINATION ${STEPPE_PACKAGE_DIR})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/steppe-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/steppe-config.cmake ${PROJECT_BINARY_DIR}/steppe-config-version.cmake
        DESTINATION ${STEPPE_PACKAGE_DIR} COMPONENT cpp)
