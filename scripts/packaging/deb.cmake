# Debian packages of what was built: `cpack -G DEB` in the folder of an optimised build.
#
#   libsluice0.1   the shared library, named by its soname: two versions of it can be installed side by side
#   libsluice-dev  headers, archive, and how find_package and pkg-config find the library
#   sluice-tools   the command
#
# The libraries lie in /usr/lib; in Debian's folder for the architecture, if the build was configured with
# -DCMAKE_INSTALL_PREFIX=/usr.
set(soname_version ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME libsluice${soname_version})
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libsluice-dev)
set(CPACK_DEBIAN_TOOL_PACKAGE_NAME sluice-tools)
set(packaged_components)
foreach(package RUNTIME DEVELOPMENT TOOL)
  string(TOLOWER ${package} component)
  # Debian wants the licence in each package, in a folder of its name; no other installation has such folders.
  install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${CPACK_DEBIAN_${package}_PACKAGE_NAME}
          RENAME copyright COMPONENT licence_of_${component} EXCLUDE_FROM_ALL)
  set(CPACK_COMPONENT_LICENCE_OF_${package}_GROUP ${component})
  set(CPACK_COMPONENT_${package}_GROUP ${component})
  list(APPEND packaged_components ${component} licence_of_${component})
endforeach()
set(CPACK_COMPONENT_STATIC_GROUP development)
set(CPACK_COMPONENT_SYSTEM_GROUP development)
set(CPACK_COMPONENTS_ALL ${packaged_components} static system)
set(CPACK_COMPONENTS_GROUPING ONE_PER_GROUP)

set(CPACK_DEBIAN_PACKAGE_NAME sluice)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "The authors of sluice")
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
# The archive, too, which an installation is not asked to strip.
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/scripts/packaging/strip_archives.cmake)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)

set(CPACK_DEBIAN_RUNTIME_DESCRIPTION "This package has the shared library.")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION libs)

set(CPACK_DEBIAN_DEVELOPMENT_DESCRIPTION "This package has what programs are built with: headers, the archive, CMake's and pkg-config's files.")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS
    "libsluice${soname_version} (= ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})")
# Only who links the archive needs these.
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SUGGESTS "pkg-config, libfmt-dev, libsimdjson-dev, libhwy-dev, liburing-dev (>= 2.3)")

set(CPACK_DEBIAN_TOOL_DESCRIPTION "This package has the command line tool sluice.")
set(CPACK_DEBIAN_TOOL_PACKAGE_SECTION utils)
# Debian has another program of that name, which limits the rate of a pipe.
set(CPACK_DEBIAN_TOOL_PACKAGE_CONFLICTS sluice)

include(CPack)
