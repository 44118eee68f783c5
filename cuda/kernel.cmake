# Builds the delivery kernel with nvcc, where there is one, and embeds it. Nothing else here needs a CUDA toolkit, and
# nothing is linked with one.
#
#   deliver.cu -> deliver.ptx, one text for all -> deliver.fatbin
#                                               -> deliver_for_old_drivers.ptx
set(SLUICE_CUDA AUTO CACHE STRING "Build the CUDA kernel: AUTO does where there is an nvcc, ON insists, OFF does not")
set_property(CACHE SLUICE_CUDA PROPERTY STRINGS AUTO ON OFF)

# Older ones do not know all the architectures.
function(sluice_nvcc_is_new_enough result nvcc)
  execute_process(COMMAND ${nvcc} --version OUTPUT_VARIABLE said ERROR_QUIET)
  if(NOT said MATCHES "V([0-9.]+)" OR CMAKE_MATCH_1 VERSION_LESS 12.8)
    set(${result} FALSE PARENT_SCOPE)
  endif()
endfunction()

# In this order: SLUICE_NVCC, the environment's folder, PATH, the usual folders, what scripts/setup installs.
if(SLUICE_CUDA)
  file(GLOB wheels ${PROJECT_SOURCE_DIR}/build/venv/lib/python*/site-packages/nvidia/cu13/bin)
  find_program(SLUICE_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATH_SUFFIXES bin
               PATHS /usr/local/cuda/bin /opt/cuda/bin ${wheels} VALIDATOR sluice_nvcc_is_new_enough
               DOC "nvcc, 12.8 or later")
endif()

if(SLUICE_CUDA AND SLUICE_NVCC)
  set(kernel_dir ${PROJECT_BINARY_DIR}/cuda)
  file(MAKE_DIRECTORY ${kernel_dir})
  if(SLUICE_STRICT)
    set(strict -Werror all-warnings)
  endif()
  # nvcc asks for a compiler that it knows, but only has it read the source: what it builds is for the device.
  add_custom_command(
    OUTPUT ${kernel_dir}/deliver.ptx
    COMMAND ${SLUICE_NVCC} --ptx -arch=compute_75 -std=c++17 -O3 ${strict} -I ${PROJECT_SOURCE_DIR}
            -ccbin ${CMAKE_CXX_COMPILER} -allow-unsupported-compiler -MD -MF ${kernel_dir}/deliver.d
            -MT ${kernel_dir}/deliver.ptx -o ${kernel_dir}/deliver.ptx ${PROJECT_SOURCE_DIR}/cuda/deliver.cu
    DEPENDS cuda/deliver.cu
    DEPFILE ${kernel_dir}/deliver.d
    COMMENT "Compiling the kernel to PTX"
    VERBATIM)
  add_custom_command(
    OUTPUT ${kernel_dir}/deliver.fatbin ${kernel_dir}/deliver_for_old_drivers.ptx
    COMMAND ${CMAKE_COMMAND} -D NVCC=${SLUICE_NVCC} -D FOLDER=${kernel_dir}
            -P ${PROJECT_SOURCE_DIR}/cuda/assemble_kernel.cmake
    DEPENDS ${kernel_dir}/deliver.ptx cuda/assemble_kernel.cmake
    COMMENT "Assembling the kernel"
    VERBATIM)
  add_custom_target(sluice_kernel DEPENDS ${kernel_dir}/deliver.fatbin ${kernel_dir}/deliver_for_old_drivers.ptx)
  set_source_files_properties(cuda/kernel_image.cpp PROPERTIES
    COMPILE_DEFINITIONS SLUICE_KERNEL_FOLDER="${kernel_dir}"
    OBJECT_DEPENDS "${kernel_dir}/deliver.fatbin;${kernel_dir}/deliver_for_old_drivers.ptx")
  message(STATUS "CUDA kernel: built with ${SLUICE_NVCC}")
elseif(NOT SLUICE_CUDA)
  message(STATUS "CUDA kernel: none, as SLUICE_CUDA is ${SLUICE_CUDA}")
elseif(SLUICE_CUDA STREQUAL "AUTO")
  message(STATUS "CUDA kernel: none, for want of an nvcc 12.8 or later; scripts/setup brings one")
else()
  message(FATAL_ERROR "SLUICE_CUDA is ON, but there is no nvcc 12.8 or later: set SLUICE_NVCC, or run scripts/setup")
endif()
