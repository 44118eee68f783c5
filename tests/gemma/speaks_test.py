"""Lets the real model go on with two sentences, computed by one rank and by two.

usage: speaks_test.py GEMMA MODEL_FOLDER
Exit status: 0 right, 1 not, 77 skipped, for want of the model.
"""

import pathlib
import subprocess
import sys

CONTINUATIONS = {
    "One two three four five six": " seven eight nine ten eleven twelve",
    "The opposite of hot is": " cold.",
}


def main():
    gemma, folder = sys.argv[1:]
    if not pathlib.Path(folder, "config.json").exists():
        print("skipped: the model is missing; scripts/gemma-weights brings it")
        return 77
    wrong = 0
    for prompt, continuation in CONTINUATIONS.items():
        for ranks in "1", "2":
            done = subprocess.run([gemma, folder, prompt, "6", ranks], stdout=subprocess.PIPE, text=True)
            print(done.stdout)
            if done.returncode != 0 or not done.stdout.startswith(prompt + continuation):
                print(f"WRONG: \"{prompt}\" should go on \"{continuation}\"")
                wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
