# What `cmake --install` gives: headers, both libraries, the tool, and how find_package and pkg-config find them.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/sluice)
set(pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(DIRECTORY include/sluice DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp" PATTERN "*.h")

# Rules files for known models, to use with --rules.
install(DIRECTORY docs/rules DESTINATION ${CMAKE_INSTALL_DATADIR}/sluice FILES_MATCHING PATTERN "*.rules")

# Two sets, so that a user of the shared library is not asked for what only the static one needs.
if(SLUICE_SHARED)
  install(TARGETS sluice_shared EXPORT sluiceSharedTargets)
  install(EXPORT sluiceSharedTargets NAMESPACE sluice:: DESTINATION ${package_dir})
endif()
install(TARGETS sluice_static EXPORT sluiceStaticTargets)
install(EXPORT sluiceStaticTargets NAMESPACE sluice:: DESTINATION ${package_dir})
configure_package_config_file(loader/sluiceConfig.cmake.in sluiceConfig.cmake INSTALL_DESTINATION ${package_dir})
# Before 1.0 every minor version may change the interface, as the soname says too.
write_basic_package_version_file(sluiceConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/sluiceConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/sluiceConfigVersion.cmake
        DESTINATION ${package_dir})

# Relative to the file itself, so that an installed tree can be moved.
file(RELATIVE_PATH SLUICE_PC_PREFIX ${CMAKE_INSTALL_PREFIX}/${pkgconfig_dir} ${CMAKE_INSTALL_PREFIX})
configure_file(loader/sluice.pc.in sluice.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/sluice.pc DESTINATION ${pkgconfig_dir})

if(TARGET sluice_tool)
  install(TARGETS sluice_tool)
endif()
