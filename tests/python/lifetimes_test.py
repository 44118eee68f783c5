"""Who may go first: loads, tensors, iterators, threads, the interpreter. And what stops a load: Ctrl-C, a consumer that
gives up, an exception of his.

Long loads are holes of a tebibyte onto the null device, which end only because they are told to; nothing depends on how
fast anything is. Memory is counted: mappings, descriptors and threads of a process before and after.
"""

import gc
import os
import queue
import signal
import threading
import time
import unittest

import sluice
from support import LAST, Case, content, header_of

TENSORS = [(f"t{i}", "U8", [1 << 16]) for i in range(16)]


def counts():
    """Threads and descriptors of this process."""
    gc.collect()
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


def resident_bytes():
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def come_back(before):
    """Waits until a process holds no more than before: the engine's thread closes files when the load has gone."""
    while any(now > then for now, then in zip(counts(), before)):
        time.sleep(0.01)


class Lifetimes(Case):
    def setUp(self):
        super().setUp()
        self.path = self.shard(TENSORS)

    def test_tensors_outlive_their_load(self):
        tensors = [tensor for _, tensor in sluice.load(self.path)]
        gc.collect()
        for tensor in tensors:
            self.assertEqual(bytes(tensor), content(tensor.name, "U8", [1 << 16]))

    def test_tensors_outlive_a_load_that_was_closed(self):
        with sluice.load(self.path) as load:
            tensor = load["t3"]
        self.assertEqual(bytes(tensor), content("t3", "U8", [1 << 16]))
        for use in (load.wait, load.progress, lambda: load["t3"], lambda: list(load)):
            with self.assertRaises(ValueError):
                use()
        load.close()
        load.cancel()

    def test_a_view_outlives_its_tensor(self):
        view = memoryview(sluice.load(self.path)["t3"])
        gc.collect()
        self.assertEqual(bytes(view), content("t3", "U8", [1 << 16]))

    def test_a_load_outlives_its_tensors(self):
        load = sluice.load(self.path)
        for _, tensor in load:
            del tensor
        self.assertEqual(bytes(load["t3"]), content("t3", "U8", [1 << 16]))

    def test_an_iterator_outlives_its_load(self):
        pairs = iter(sluice.load(self.path))
        gc.collect()
        self.assertEqual(len(list(pairs)), len(TENSORS))
        self.assertEqual(list(pairs), [])

    def test_all_memory_comes_back(self):
        size, rounds = 8 << 20, 10
        path = self.shard([("large", "U8", [size]), ("small", "U8", [16])], "large.safetensors")
        self.addCleanup(sluice.configure)
        sluice.configure(staging_bytes=1 << 20)

        def use():
            load = sluice.load(path)
            held = [tensor for _, tensor in load]
            views = [memoryview(tensor) for tensor in held]
            capsules = [tensor.__dlpack__(max_version=version) for tensor in held for version in (None, (1, 1))]
            early = iter(sluice.load(path))
            next(early)
            del load, held, views, capsules, early

        for _ in range(3):  # what is made once is made
            use()
        before, resident = counts(), resident_bytes()
        for _ in range(rounds):
            use()
        come_back(before)
        self.assertLess(resident_bytes() - resident, rounds * size / 2)

    def test_a_budget_bounds_what_is_there(self):
        mib = 1 << 20
        tensors = [(f"t{i:02}", "U8", [3 * mib + 17 * i]) for i in range(12)]
        tensors += [("large", "U8", [20 * mib]), ("last", "U8", [7])]
        load = sluice.load(self.shard(tensors), budget=8 * mib)
        seen = {name: (bytes(memoryview(tensor)[:7]), bytes(memoryview(tensor)[-3:])) for name, tensor in load}
        for name, dtype, shape in tensors:
            data = content(name, dtype, shape)
            self.assertEqual(seen[name], (data[:7], data[-3:]), name)
        self.assertLessEqual(load.statistics()["peak_arena_bytes"], 28 * mib)
        with self.assertRaises(sluice.Error) as raised:
            load["t00"]
        self.assertEqual(raised.exception.code, "invalid_argument")

    def test_a_budget_reckons_with_the_tensor_that_a_loop_still_has(self):
        mib = 1 << 20
        for budget, sizes in ((8, [8] * 4), (8, [7] * 4), (8, [6] * 4), (8, [20, 2, 2, 2, 2]), (16, [16] * 3), (16, [15] * 3)):
            path = self.folder / "holes.safetensors"
            header, length = header_of([(f"t{i}", "U8", [size * mib]) for i, size in enumerate(sizes)])
            path.write_bytes(header)
            os.truncate(path, len(header) + length)
            load, count = sluice.load(path, budget=budget * mib), 0
            for _, tensor in load:
                count += 1
            self.assertEqual(count, len(sizes), (budget, sizes))
            self.assertLessEqual(load.statistics()["peak_arena_bytes"], (budget + max(sizes) + 4) * mib)

    def test_a_budget_stops_who_collects_with_an_error(self):
        mib = 1 << 20
        load = sluice.load(self.shard([(f"t{i}", "U8", [3 * mib]) for i in range(6)]), budget=8 * mib)
        held, arrivals = [], iter(load)
        with self.assertRaises(sluice.Error) as raised:
            held.extend(pair for pair in arrivals)
        self.assertEqual(raised.exception.code, "out_of_memory")
        self.assertIsInstance(raised.exception, MemoryError)
        self.assertIn("when_full", raised.exception.hint)
        self.assertTrue(held and load.progress().held_up)
        for wait in (load.wait, lambda: load.wait_for("t5"), lambda: load["t5"], load.values):
            with self.assertRaises(MemoryError):
                wait()
        names = [name for name, _ in held]
        held.clear()
        self.assertFalse(load.progress().held_up)
        names += [name for name, _ in arrivals]
        self.assertEqual(sorted(names), [f"t{i}" for i in range(6)])
        self.assertTrue(load.wait())

    def test_a_budget_stops_loads_behind_it_too(self):
        mib = 1 << 20
        first = sluice.load(self.shard([(f"t{i}", "U8", [3 * mib]) for i in range(6)]), budget=8 * mib)
        second = sluice.load(self.path)
        with self.assertRaises(MemoryError):
            second.wait()
        for _, tensor in first:
            del tensor
        self.assertTrue(second.wait())

    def test_a_budget_frees_what_only_the_collector_can(self):
        mib = 1 << 20
        load = sluice.load(self.shard([(f"t{i}", "U8", [3 * mib]) for i in range(6)]), budget=8 * mib)
        count = 0
        for _, tensor in load:
            its = [tensor]
            its.append(its)
            count += 1
        self.assertEqual(count, 6)

    def test_a_budget_waits_for_another_thread_where_it_is_to(self):
        mib = 1 << 20
        path = self.shard([(f"t{i}", "U8", [3 * mib]) for i in range(6)])
        load = sluice.load(path, budget=8 * mib, when_full="wait")
        handed = queue.Queue()

        def let_go():
            while handed.get() is not None:
                while not load.progress().held_up and not load.progress().finished:
                    time.sleep(0.001)

        consumer = threading.Thread(target=let_go)
        consumer.start()
        count = 0
        for _, tensor in load:
            handed.put(tensor)
            count += 1
        handed.put(None)
        consumer.join()
        self.assertEqual(count, 6)
        with self.assertRaises(ValueError):
            sluice.load(path, when_full="never")

    def test_two_loads_take_turns(self):
        first, second = sluice.load(self.path), sluice.load(self.path)
        for (_, a), (_, b) in zip(first, second):
            self.assertEqual(len(a.shape), len(b.shape))
        first.wait()
        second.wait()


class Stops(Case):
    def test_a_consumer_that_gives_up(self):
        before = None
        for _ in range(3):
            for name, tensor in sluice.load(self.endless(), "null"):
                break
            del tensor
            before = before or counts()
        come_back(before)

    def test_an_exception_of_the_consumers(self):
        def consume():
            with sluice.load(self.endless(), "null") as load:
                for name, _ in load:
                    raise RuntimeError(name)

        with self.assertRaises(RuntimeError):
            consume()

    def test_cancel_from_another_thread(self):
        load = sluice.load(self.endless(), "null")
        threading.Timer(0.05, load.cancel).start()
        with self.assertRaises(sluice.Error) as raised:
            load.wait()
        self.assertEqual(raised.exception.code, "cancelled")

    def test_ctrl_c_ends_a_process_that_waits(self):
        for wait in ("load.wait()", "load['t4095']", "list(load)", "load.items()", "load.wait_on(0, 't4095')"):
            script = f"""
                load = sluice.load(sys.argv[1], "null")
                try:
                    print("waits", flush=True)
                    {wait}
                except KeyboardInterrupt:
                    print("interrupted")
            """
            process = self.start(script, self.endless())
            self.assertEqual(process.stdout.readline(), "waits\n")
            process.send_signal(signal.SIGINT)
            self.assertEqual(self.finish(process), ("interrupted\n", ""))

    def test_an_interrupted_wait_cancels_the_load(self):
        def interrupt(*_):
            raise InterruptedError

        self.addCleanup(signal.signal, signal.SIGALRM, signal.signal(signal.SIGALRM, interrupt))
        path = self.endless()
        for _ in range(100):  # until one is interrupted in the wait, not just before it
            load = sluice.load(path, "null")
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            with self.assertRaises(InterruptedError):
                load.wait()
            try:
                load.wait(1)
            except sluice.Error as error:
                self.assertEqual(error.code, "cancelled")
                return
            load.close()
        self.fail("it goes on")

    def test_a_handler_that_does_not_raise_stops_nothing(self):
        script = """
            import signal
            load = sluice.load(sys.argv[1], "null")
            signal.signal(signal.SIGALRM, lambda *_: (print("handled", flush=True), signal.alarm(0), load.cancel()))
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            try: load.wait()
            except sluice.Error as error: print(error.code)
        """
        self.assertEqual(self.run_script(script, self.endless())[0], "handled\ncancelled\n")


class Threads(Case):
    def test_two_iterate_over_one_load(self):
        load = sluice.load(self.shard(TENSORS))
        seen = [[], []]
        threads = [threading.Thread(target=lambda its=its: its.extend(name for name, _ in load)) for its in seen]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(seen[0], seen[1])
        self.assertEqual(len(seen[0]), len(TENSORS))

    def test_two_share_an_iterator(self):
        pairs = iter(sluice.load(self.shard(TENSORS)))
        seen = [[], []]
        threads = [threading.Thread(target=lambda its=its: its.extend(name for name, _ in pairs)) for its in seen]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(seen[0] + seen[1]), sorted(name for name, _, _ in TENSORS))

    def test_one_closes_what_another_waits_for(self):
        load = sluice.load(self.endless(), "null")
        codes = []

        def wait():
            try:
                load.wait()
            except sluice.Error as error:
                codes.append(error.code)

        thread = threading.Thread(target=wait)
        thread.start()
        next(iter(load))
        load.close()
        thread.join()
        self.assertIn(codes[0], ("cancelled", "invalid_argument"))

    def test_python_goes_on_while_one_waits(self):
        load = sluice.load(self.endless(), "null")
        thread = threading.Thread(target=lambda: self.assertRaises(sluice.Error, load.wait))
        thread.start()
        for _ in range(1000):
            load.progress()
        load.cancel()
        thread.join()


class Processes(Case):
    def test_the_interpreter_ends_while_loads_run(self):
        scripts = {
            "one that nobody waits for": "",
            "one that is held by a module": "sluice.held = load, next(iter(load))",
            "one that a daemon waits for": """
                import threading
                threading.Thread(target=load.wait, daemon=True).start()
            """,
            "one in the middle of a loop": "for pair in load: sys.exit(0)",
            "one that another follows": "again = sluice.load(sys.argv[1], 'null')",
        }
        for name, script in scripts.items():
            for device in ("null", "cpu"):
                path = self.endless() if device == "null" else self.shard(TENSORS)
                with self.subTest(name, device=device):
                    process = self.start(
                        f"load = sluice.load(sys.argv[1], '{device}')\n" + "\n".join(line[16:] if line.startswith(" " * 16)
                        else line for line in script.splitlines()), path)
                    said, errors = self.finish(process)
                    self.assertEqual(said, "")
                    self.assertNotIn("terminate", errors)

    def test_the_interpreter_ends_while_threads_are_told_of_errors(self):
        script = """
            import threading, time
            load = sluice.load(sys.argv[1])
            load.wait()

            def fail():
                while True:
                    try: load["nowhere"]
                    except sluice.Error: told.set()

            told = threading.Event()
            for _ in range(2): threading.Thread(target=fail, daemon=True).start()
            told.wait()
            time.sleep(0.05)
        """
        self.assertEqual(self.run_script(script, self.shard(TENSORS)), ("", ""))

    def test_other_interpreters_of_the_process_are_refused_and_do_no_harm(self):
        script = """
            try:
                import _interpreters as interpreters  # from 3.13 on
                create = lambda: interpreters.create("legacy")
            except ImportError:
                import _xxsubinterpreters as interpreters
                create = lambda: interpreters.create(isolated=False)
            code = '''
            try: import sluice
            except ImportError as error: print(error, flush=True)
            '''
            other = create()
            interpreters.run_string(other, "import sys; sys.path[:] = " + repr(sys.path) + code)
            interpreters.destroy(other)
            sluice.load(sys.argv[1]).wait()
            try: sluice.open("nowhere")
            except sluice.Error as error: print(error.code)
        """
        said, errors = self.run_script(script, self.shard(TENSORS))
        refusal = "sluice serves the main interpreter only: load there, or in another process"
        self.assertEqual((said, errors), (f"{refusal}\nnot_found\n", ""))

    def test_nothing_is_loaded_when_the_interpreter_has_ended(self):
        script = """
            import atexit
            sluice.open  # its own handler is called after this one's
            def late():
                try: sluice.load(sys.argv[1]).wait()
                except sluice.Error as error: print(error.code)
            from sluice import _sluice
            _sluice.end()
            atexit.register(late)
            del sys.modules["sluice._sluice"], sluice._sluice
            try: import sluice._sluice
            except ImportError as error: print(error)
        """
        refusal = "the interpreter that sluice served has ended: load in another process"
        self.assertEqual(self.run_script(script, self.shard(TENSORS))[0], f"{refusal}\ncancelled\n")

    def test_a_child_loads_by_itself(self):
        path = self.shard(TENSORS)
        load = sluice.load(path)
        kept = load["t1"]
        load.wait()
        running = sluice.load(self.endless(), "null")
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for use in (running.wait, lambda: list(running), lambda: running[LAST]):
                    try:
                        use()
                        os._exit(2)
                    except sluice.Error as error:
                        if error.code != "system":
                            os._exit(3)
                own = sluice.load(path)
                own.wait()
                right = bytes(own["t1"]) == content("t1", "U8", [1 << 16]) == bytes(kept)
                del own, running, load, kept
                status = 0 if right else 4
            finally:
                os._exit(status)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        running.close()
        self.assertEqual(bytes(kept), content("t1", "U8", [1 << 16]))


if __name__ == "__main__":
    unittest.main()
