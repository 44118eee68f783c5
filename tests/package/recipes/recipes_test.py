"""Holds the recipes under scripts/packaging to what they package: vcpkg's and Conan's functions are replaced by some that
write down what they were asked for, as both download what they need.

usage: recipes_test.py SOURCE_FOLDER CMAKE
"""

import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import types
import unittest
from unittest import mock

# What CMake is asked to find -> how vcpkg calls it, how Conan does. None: comes with the compiler.
LIBRARY = {
    "Threads": None,
    "PkgConfig": ("pkgconf", None),
    "fmt": ("fmt", "fmt"),
    "simdjson": ("simdjson", "simdjson"),
    "hwy": ("highway", "highway"),
    "tsl-robin-map": ("tsl-robin-map", "tsl-robin-map"),
    "liburing": ("liburing", "liburing"),
}
TOOL = {
    "CLI11": ("cli11", "cli11"),
    "nlohmann_json": ("nlohmann-json", "nlohmann_json"),
    "OpenSSL": ("openssl", "openssl"),
}


def names(known, which):
    return {name[which] for name in known.values() if name and name[which]}


class Recipes(unittest.TestCase):
    def setUp(self):
        self.root = (SOURCE / "CMakeLists.txt").read_text(encoding="utf-8")
        self.tool = (SOURCE / "loader/tool/CMakeLists.txt").read_text(encoding="utf-8")
        self.version = re.search(r"project\(sluice VERSION (\S+)", self.root)[1]
        self.options = set(re.findall(r"^(?:option|set)\((SLUICE_\w+)", self.root, re.MULTILINE))
        kernel = (SOURCE / "cuda/kernel.cmake").read_text(encoding="utf-8")
        self.options |= set(re.findall(r"^set\((SLUICE_\w+) \w+ CACHE", kernel, re.MULTILINE))
        # What a project of its own has switched on, and what is found by chance: a recipe says whether it wants them.
        self.decided = set(re.findall(r"^option\((SLUICE_\w+) .*PROJECT_IS_TOP_LEVEL", self.root, re.MULTILINE))
        self.decided = self.decided - {"SLUICE_INSTALL"} | {"SLUICE_SHARED", "SLUICE_CUDA", "SLUICE_NVTX"}

    def found(self, text):
        return set(re.findall(r"^(?:find_package|pkg_check_modules)\(([\w-]+)", text, re.MULTILINE))

    def test_all_that_is_found_is_known_here(self):
        self.assertEqual(self.found(self.root), set(LIBRARY))
        self.assertEqual(self.found(self.tool), set(TOOL))

    def test_vcpkg_manifest(self):
        manifest = json.loads((PACKAGING / "vcpkg/vcpkg.json").read_text(encoding="utf-8"))
        self.assertEqual(manifest["version"], self.version)
        self.assertEqual(manifest["description"], re.search(r'DESCRIPTION "([^"]+)"', self.root)[1])
        dependencies = {d if isinstance(d, str) else d["name"] for d in manifest["dependencies"]}
        self.assertEqual(dependencies, names(LIBRARY, 0) | {"vcpkg-cmake", "vcpkg-cmake-config"})
        self.assertEqual(set(manifest["features"]["tool"]["dependencies"]), names(TOOL, 0))

    def port(self, linkage, features):
        """What the port configures, and what is left of an installation that it is given."""
        with tempfile.TemporaryDirectory() as folder:
            packages = pathlib.Path(folder)
            for file in ("lib/libsluice.a", "lib/libsluice.so.0.1", "debug/lib/libsluice.a", "debug/include/sluice.hpp",
                         "share/sluice/sluiceStaticTargets.cmake", "share/sluice/sluiceSharedTargets.cmake"):
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                (packages / file).touch()
            ran = subprocess.run(
                [CMAKE, f"-DVCPKG_LIBRARY_LINKAGE={linkage}", f"-DFEATURES={';'.join(features)}",
                 f"-DCURRENT_PACKAGES_DIR={packages}", f"-DPORT={PACKAGING}/vcpkg/portfile.cmake",
                 "-P", pathlib.Path(__file__).parent / "vcpkg.cmake"], capture_output=True, text=True, check=False)
            self.assertEqual(ran.returncode, 0, ran.stderr)
            calls = dict(re.findall(r"^-- (\w+): (.*)$", ran.stdout, re.MULTILINE))
            return calls, {str(file.relative_to(packages)) for file in packages.rglob("*") if file.is_file()}

    def test_vcpkg_port(self):
        manifest = json.loads((PACKAGING / "vcpkg/vcpkg.json").read_text(encoding="utf-8"))
        for linkage in ("static", "dynamic"):
            for features in ([], list(manifest["features"])):
                calls, files = self.port(linkage, ["core", *features])
                self.assertEqual(pathlib.Path(calls["source"]), SOURCE)
                self.assertEqual(pathlib.Path(calls["copyright"]), SOURCE / "LICENSE")
                options = dict(option.removeprefix("-D").split("=") for option in calls["options"].split(";"))
                self.assertLessEqual(set(options), self.options)
                self.assertGreaterEqual(set(options), self.decided)
                shared = linkage == "dynamic"
                self.assertEqual(options["SLUICE_SHARED"] in ("ON", "1"), shared)
                self.assertEqual(options["SLUICE_TOOL"] == "ON", "tool" in features)
                self.assertEqual("tools" in calls, "tool" in features)
                kept = {"lib/libsluice.so.0.1", "share/sluice/sluiceSharedTargets.cmake", "share/sluice/usage"}
                if not shared:
                    kept |= {"lib/libsluice.a", "debug/lib/libsluice.a", "share/sluice/sluiceStaticTargets.cmake"}
                self.assertEqual(files, kept)

    def conan(self, **options):
        """The recipe with those options, and what it asked Conan's generators for."""
        asked = {"requires": [], "properties": {}, "variables": {}}
        base = type("ConanFile", (), {"requires": lambda _, reference: asked["requires"].append(reference)})
        toolchain = mock.MagicMock()
        toolchain.cache_variables = asked["variables"]
        dependencies = mock.MagicMock()
        dependencies.set_property.side_effect = lambda name, key, value: asked["properties"].update({(name, key): value})
        copied = []
        modules = {
            "conan": types.SimpleNamespace(ConanFile=base),
            "conan.tools": types.SimpleNamespace(),
            "conan.tools.build": types.SimpleNamespace(check_min_cppstd=None),
            "conan.tools.cmake": types.SimpleNamespace(
                CMake=None, CMakeDeps=lambda _: dependencies, CMakeToolchain=lambda _: toolchain, cmake_layout=None),
            "conan.tools.files": types.SimpleNamespace(copy=lambda _, pattern, *__: copied.append(pattern), rmdir=None),
            "conan.tools.gnu": types.SimpleNamespace(PkgConfigDeps=mock.MagicMock()),
        }
        path = PACKAGING / "conan/conanfile.py"
        with mock.patch.dict(sys.modules, modules):
            spec = importlib.util.spec_from_file_location("recipe", path)
            module = importlib.util.module_from_spec(spec)
            with mock.patch.object(sys, "dont_write_bytecode", True):
                spec.loader.exec_module(module)
        recipe = module.Sluice()
        self.assertEqual(set(recipe.default_options), set(recipe.options))
        recipe.options = types.SimpleNamespace(**{**recipe.default_options, **options})
        recipe.recipe_folder, recipe.export_sources_folder, recipe.cpp_info = str(path.parent), "", mock.MagicMock()
        recipe.set_version()
        recipe.export_sources()
        recipe.requirements()
        recipe.generate()
        recipe.package_info()
        asked["copied"] = copied
        return recipe, asked

    def test_conan_recipe(self):
        for shared in (False, True):
            for tool in (False, True):
                recipe, asked = self.conan(shared=shared, tool=tool)
                self.assertEqual(recipe.version, self.version)
                required = {reference.split("/")[0] for reference in asked["requires"]}
                self.assertEqual(required, names(LIBRARY, 1) | (names(TOOL, 1) if tool else set()))
                self.assertLessEqual(set(asked["variables"]), self.options)
                self.assertGreaterEqual(set(asked["variables"]), self.decided)
                self.assertEqual(asked["variables"]["SLUICE_SHARED"], shared)
                self.assertEqual(asked["variables"]["SLUICE_TOOL"], tool)
                target = "sluice::sluice" if shared else "sluice::sluice_static"
                recipe.cpp_info.set_property.assert_any_call("cmake_target_name", target)
                self.assertTrue(f"add_library({target} ALIAS" in self.root, f"CMakeLists.txt has no {target}")
                for (name, _), value in asked["properties"].items():
                    self.assertIn(name.split("::")[0], names(LIBRARY, 1))
                    self.assertTrue(value in self.root, f"CMakeLists.txt does not speak of {value}")

    def test_conan_recipe_exports_what_the_build_reads(self):
        _, asked = self.conan()
        exported = {str(file.relative_to(SOURCE)) for pattern in asked["copied"] for file in SOURCE.glob(pattern)}
        for pattern in asked["copied"]:
            self.assertTrue(list(SOURCE.glob(pattern)), pattern)
        read = set(re.findall(r"[\w/]+\.(?:cpp|cmake)\b", self.root)) | {"loader/tool", "docs/rules"}
        for file in read:
            self.assertTrue((SOURCE / file).exists(), file)
            self.assertTrue(any(file == path or path.startswith(file.split("/")[0] + "/") for path in exported), file)


if __name__ == "__main__":
    CMAKE = sys.argv.pop()
    SOURCE = pathlib.Path(sys.argv.pop()).resolve()
    PACKAGING = SOURCE / "scripts/packaging"
    unittest.main()
