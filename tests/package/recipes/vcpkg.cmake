# What vcpkg offers a port, as far as sluice's asks for it: says what it was asked for, and does what concerns files.
cmake_minimum_required(VERSION 3.25)

function(vcpkg_check_features)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "OUT_FEATURE_OPTIONS" "FEATURES")
  while(arg_FEATURES)
    list(POP_FRONT arg_FEATURES feature option)
    if(feature IN_LIST FEATURES)
      list(APPEND result -D${option}=ON)
    else()
      list(APPEND result -D${option}=OFF)
    endif()
  endwhile()
  set(${arg_OUT_FEATURE_OPTIONS} ${result} PARENT_SCOPE)
endfunction()

function(vcpkg_cmake_configure)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "SOURCE_PATH" "OPTIONS")
  message(STATUS "source: ${arg_SOURCE_PATH}")
  message(STATUS "options: ${arg_OPTIONS}")
endfunction()

function(vcpkg_copy_tools)
  cmake_parse_arguments(PARSE_ARGV 0 arg "AUTO_CLEAN" "" "TOOL_NAMES")
  message(STATUS "tools: ${arg_TOOL_NAMES}")
endfunction()

function(vcpkg_install_copyright)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "" "FILE_LIST")
  message(STATUS "copyright: ${arg_FILE_LIST}")
endfunction()

function(vcpkg_cmake_install)
endfunction()

function(vcpkg_cmake_config_fixup)
endfunction()

function(vcpkg_fixup_pkgconfig)
endfunction()

include(${PORT})
