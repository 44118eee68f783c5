"""docs/python.md: its first example works as it stands there. The stubs: what they have is there, with their parameters."""

import ast
import inspect
import os
import pathlib
import re
import unittest

import sluice
from support import Case

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "python.md"


class Documents(Case):
    def test_the_first_example_works(self):
        self.shard([("a.weight", "F32", [2, 2]), ("a.bias", "F32", [2])])
        example = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)[1]
        self.assertLessEqual(len(example.splitlines()), 12)
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.folder)
        said, errors = self.run_script(example)
        self.assertEqual(errors, "")
        lines = said.splitlines()
        self.assertEqual(sorted(lines[:2]), ["a.bias F32 (2,) host", "a.weight F32 (2, 2) host"])
        self.assertTrue(lines[2].endswith(" 1"))
        self.assertEqual(lines[3], "2 True")


class Stubs(Case):
    def test_have_what_the_package_has(self):
        stubs = pathlib.Path(sluice.__file__).with_name("__init__.pyi")
        known = {node.name: node for node in ast.parse(stubs.read_text(encoding="utf-8")).body if hasattr(node, "name")}
        self.assertLessEqual(set(sluice.__all__), set(known))
        for name, node in known.items():
            its = getattr(sluice, name, None)
            if isinstance(node, ast.FunctionDef):
                self.compare(node, its)
            elif not name.startswith("_"):
                is_final = any(ast.unparse(each) == "final" for each in node.decorator_list)
                self.assertEqual(self.can_be_a_base(its), not is_final, name)
                self.assertFalse(any(ast.unparse(base) == "NamedTuple" for base in node.bases) and not hasattr(its, "_fields"))
                for function in node.body:
                    if isinstance(function, ast.FunctionDef) and function.name != "__buffer__":  # Python's own, from 3.12 on
                        self.compare(function, getattr(its, function.name))

    def can_be_a_base(self, its):
        try:
            type("derived", (its,), {})
            return True
        except TypeError:
            return False

    def compare(self, stub, function):
        if inspect.isfunction(function):
            wanted = [each.arg for each in (*stub.args.args, *stub.args.kwonlyargs)]
            found = inspect.signature(function).parameters.values()
            self.assertEqual([each.name for each in found if each.kind != each.VAR_POSITIONAL], wanted, stub.name)


if __name__ == "__main__":
    unittest.main()
