# Builds the sources that this port lies in: vcpkg install sluice --overlay-ports=<sluice>/scripts/packaging/vcpkg
cmake_path(SET SOURCE_PATH NORMALIZE "${CMAKE_CURRENT_LIST_DIR}/../../..")

string(COMPARE EQUAL "${VCPKG_LIBRARY_LINKAGE}" dynamic shared)
vcpkg_check_features(OUT_FEATURE_OPTIONS features FEATURES cuda SLUICE_CUDA tool SLUICE_TOOL)
vcpkg_cmake_configure(SOURCE_PATH "${SOURCE_PATH}" OPTIONS
  ${features} -DSLUICE_SHARED=${shared} -DSLUICE_TESTS=OFF -DSLUICE_BENCH=OFF -DSLUICE_STRICT=OFF -DSLUICE_NVTX=OFF
  -DSLUICE_PYTHON=OFF)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH lib/cmake/sluice)
vcpkg_fixup_pkgconfig()

# A triplet has the one library or the other. The archive is always built.
if(shared)
  foreach(folder "${CURRENT_PACKAGES_DIR}" "${CURRENT_PACKAGES_DIR}/debug")
    file(REMOVE "${folder}/lib/libsluice.a")
  endforeach()
  file(GLOB archive_targets "${CURRENT_PACKAGES_DIR}/share/sluice/sluiceStaticTargets*.cmake")
  file(REMOVE ${archive_targets})
endif()
if("tool" IN_LIST FEATURES)
  vcpkg_copy_tools(TOOL_NAMES sluice AUTO_CLEAN)
endif()
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/debug/include" "${CURRENT_PACKAGES_DIR}/debug/share")
file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/sluice")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
