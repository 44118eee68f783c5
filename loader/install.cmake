# What `cmake --install` gives. Its components are what packages are made of:
#
#   runtime      the shared library, one file
#   development  headers, and the files by which find_package finds the shared library; moved anywhere with it, they work
#   static       the archive, and its part of those files
#   system       what finds either by its name alone: sluice.pc, and the link that -lsluice looks for
#   tool         the command, and rules files for known models
#   python       the module of the Python package, in a wheel
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/sluice)
set(pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
set(commands_dir ${CMAKE_INSTALL_BINDIR})

# In a wheel all of it lies in the package's folder, which pyproject.toml names, but for the tool, which lies where Python
# has commands. It has one file of the shared library: wheels have links as copies.
if(SKBUILD)
  set(commands_dir ${SKBUILD_SCRIPTS_DIR})
  set_property(TARGET sluice_shared PROPERTY VERSION)
  set_property(TARGET sluice_shared PROPERTY SOVERSION)
endif()

install(DIRECTORY include/sluice DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development
        FILES_MATCHING PATTERN "*.hpp" PATTERN "*.h")

# Two sets, so that a user of the shared library is not asked for what only the static one needs.
if(SLUICE_SHARED)
  install(TARGETS sluice_shared EXPORT sluiceSharedTargets LIBRARY COMPONENT runtime NAMELINK_COMPONENT system)
  install(EXPORT sluiceSharedTargets NAMESPACE sluice:: DESTINATION ${package_dir} COMPONENT development)
endif()
install(TARGETS sluice_static EXPORT sluiceStaticTargets ARCHIVE COMPONENT static)
install(EXPORT sluiceStaticTargets NAMESPACE sluice:: DESTINATION ${package_dir} COMPONENT static)
configure_package_config_file(loader/sluiceConfig.cmake.in sluiceConfig.cmake INSTALL_DESTINATION ${package_dir})
# Before 1.0 every minor version may change the interface, as the soname says too.
write_basic_package_version_file(sluiceConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/sluiceConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/sluiceConfigVersion.cmake
        DESTINATION ${package_dir} COMPONENT development)

# Relative to the file itself, so that an installed tree can be moved.
file(RELATIVE_PATH SLUICE_PC_PREFIX ${CMAKE_INSTALL_PREFIX}/${pkgconfig_dir} ${CMAKE_INSTALL_PREFIX})
configure_file(loader/sluice.pc.in sluice.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/sluice.pc DESTINATION ${pkgconfig_dir} COMPONENT system)

# Rules files for known models, to use with --rules.
install(DIRECTORY docs/rules DESTINATION ${CMAKE_INSTALL_DATADIR}/sluice COMPONENT tool FILES_MATCHING PATTERN "*.rules")
if(TARGET sluice_tool)
  install(TARGETS sluice_tool RUNTIME DESTINATION ${commands_dir} COMPONENT tool)
endif()

if(SKBUILD)
  install(TARGETS sluice_python DESTINATION . COMPONENT python)
elseif(SLUICE_SHARED AND SLUICE_TOOL)
  include(scripts/packaging/deb.cmake)
endif()
