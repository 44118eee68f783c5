"""Builds the sources that this recipe lies in: conan create <sluice>/scripts/packaging/conan --build=missing"""

import pathlib
import re

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy, rmdir
from conan.tools.gnu import PkgConfigDeps

SOURCES = ("CMakeLists.txt", "LICENSE", "cuda/*", "include/*", "loader/*", "docs/rules/*", "scripts/packaging/*.cmake")


class Sluice(ConanFile):
    name = "sluice"
    description = "Loads model weights from storage into device memory"
    license = "Apache-2.0"
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"shared": [True, False], "fPIC": [True, False], "cuda": [True, False], "tool": [True, False]}
    default_options = {"shared": False, "fPIC": True, "cuda": True, "tool": False}  # cuda needs nvcc 12.8 or later
    implements = ["auto_shared_fpic"]

    def _repository(self):
        return pathlib.Path(self.recipe_folder).parents[2]

    def set_version(self):
        text = (self._repository() / "CMakeLists.txt").read_text(encoding="utf-8")
        self.version = re.search(r"^project\(sluice VERSION ([\d.]+)", text, re.MULTILINE)[1]

    def export_sources(self):
        for pattern in SOURCES:
            copy(self, pattern, self._repository(), self.export_sources_folder)

    def layout(self):
        cmake_layout(self)

    def requirements(self):
        self.requires("fmt/[>=9 <13]")
        self.requires("simdjson/[>=3 <5]")
        self.requires("highway/[>=1 <2]")
        self.requires("tsl-robin-map/[>=1 <2]")
        self.requires("liburing/[>=2.3 <3]")
        if self.options.tool:
            self.requires("cli11/[>=2 <3]")
            self.requires("nlohmann_json/[>=3 <4]")
            self.requires("openssl/[>=3 <4]")

    def validate(self):
        check_min_cppstd(self, 20)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables.update({
            "SLUICE_SHARED": bool(self.options.shared),
            "SLUICE_CUDA": "ON" if self.options.cuda else "OFF",
            "SLUICE_TOOL": bool(self.options.tool),
            "SLUICE_TESTS": False,
            "SLUICE_BENCH": False,
            "SLUICE_STRICT": False,
            "SLUICE_NVTX": False,
            "SLUICE_PYTHON": False,
        })
        toolchain.generate()
        # Highway's recipe leaves its names to Conan, which are not those of highway's own files.
        dependencies = CMakeDeps(self)
        dependencies.set_property("highway", "cmake_file_name", "hwy")
        dependencies.set_property("highway::hwy", "cmake_target_name", "hwy::hwy")
        dependencies.generate()
        PkgConfigDeps(self).generate()  # liburing is found by pkg-config

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        copy(self, "LICENSE", self.source_folder, pathlib.Path(self.package_folder) / "licenses")
        CMake(self).install()
        # Conan writes its own, in which the dependencies are those of this package.
        rmdir(self, str(pathlib.Path(self.package_folder) / "lib" / "cmake"))
        rmdir(self, str(pathlib.Path(self.package_folder) / "lib" / "pkgconfig"))
        if self.options.shared:  # the archive is always built
            (pathlib.Path(self.package_folder) / "lib" / "libsluice.a").unlink()

    def package_info(self):
        self.cpp_info.libs = ["sluice"]
        self.cpp_info.system_libs = ["dl", "pthread"]
        self.cpp_info.set_property("cmake_file_name", "sluice")
        self.cpp_info.set_property("pkg_config_name", "sluice")
        if self.options.shared:
            self.cpp_info.set_property("cmake_target_name", "sluice::sluice")
        else:
            self.cpp_info.set_property("cmake_target_name", "sluice::sluice_static")
            self.cpp_info.defines = ["SLUICE_STATIC"]
