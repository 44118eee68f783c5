# Assembles FOLDER/deliver.ptx with NVCC for every architecture, says what registers each takes, and fails where one
# puts anything into memory that the source does not name: a kernel that spills is slow, and no test would show it.
#
#   cmake -D NVCC=... -D FOLDER=... -P assemble_kernel.cmake
set(architectures sm_75 sm_80 sm_86 sm_89 sm_90 sm_100 sm_120)
set(ptx ${FOLDER}/deliver.ptx)
set(old_ptx ${FOLDER}/deliver_for_old_drivers.ptx)
set(unproved ${FOLDER}/unproved)  # the fatbinary, until it has passed

# assemble(<variable for what it says> <nvcc's arguments...>)
function(assemble result)
  execute_process(COMMAND ${NVCC} ${ARGN} OUTPUT_VARIABLE said ERROR_VARIABLE said RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "nvcc failed:\n${said}")
  endif()
  set(${result} "${said}" PARENT_SCOPE)
endfunction()

# The text needs nothing that drivers of 2018 do not know, but they refuse it by its version alone.
file(READ ${ptx} text)
string(REGEX REPLACE "\n\\.version [0-9.]+\n" "\n.version 6.3\n" old_text "${text}")
if(old_text STREQUAL text)
  message(FATAL_ERROR "${ptx} declares no version")
endif()
file(WRITE ${old_ptx} "${old_text}")
assemble(said --cubin -arch=sm_75 -o ${unproved} ${old_ptx})

list(JOIN architectures "," codes)
assemble(said --fatbin -gencode "arch=compute_75,code=[${codes},compute_75]" --compress-mode=none -Xptxas -v
         -o ${unproved} ${ptx})
string(REGEX MATCHALL "for '(sm_[0-9]+)'" kernels "${said}")
string(REGEX MATCHALL "[0-9]+ bytes stack frame, [0-9]+ bytes spill stores, [0-9]+ bytes spill loads" memories "${said}")
string(REGEX MATCHALL "Used [0-9]+ registers[^\n]*" registers "${said}")
list(TRANSFORM kernels REPLACE "for '(sm_[0-9]+)'" "\\1")
if(NOT kernels STREQUAL architectures)
  message(FATAL_ERROR "ptxas reports on '${kernels}', not on '${architectures}':\n${said}")
endif()
foreach(architecture memory register IN ZIP_LISTS architectures memories registers)
  message(STATUS "sluice_deliver for ${architecture}: ${register}, ${memory}")
  if(NOT memory STREQUAL "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" OR register MATCHES "lmem|smem")
    message(FATAL_ERROR "the kernel must need registers only")
  endif()
endforeach()
file(RENAME ${unproved} ${FOLDER}/deliver.fatbin)
