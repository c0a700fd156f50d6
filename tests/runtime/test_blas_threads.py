"""One thread for small products, whoever else limits the threads at the same time."""

import os
import threading

import pytest
from edgead_runtime import blas_threads
from edgead_runtime.blas_threads import one_blas_thread
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

THREADS = 3
ALONE = {1}


def counts():
    """Of NumPy: another package's own BLAS may have come into the process since."""
    return {pool["num_threads"] for pool in threadpool_info() if "numpy" in pool["filepath"]}


def set_for_good(threads):
    """Not in the main thread: threadpoolctl would leave all limits to that from then on."""
    asking = threading.Thread(target=lambda: threadpool_limits(threads, user_api="blas"))
    asking.start()
    asking.join()


@pytest.fixture(autouse=True)
def full(monkeypatch):
    """The count that has to be there in the end, whatever the machine and its variables say."""
    before = counts()
    layers = {
        lib.info().get("threading_layer")
        for lib in ThreadpoolController().lib_controllers
        if "numpy" in lib.filepath
    }
    if layers != {"pthreads"}:
        pytest.skip("this NumPy's BLAS has no threads, or some of its own kind")
    monkeypatch.setattr(blas_threads, "_seen", {})
    set_for_good(THREADS)
    assert counts() == {THREADS}
    yield {THREADS}
    set_for_good(before.pop())


class Elsewhere:
    """A context entered and left in a thread of its own, when the test says so."""

    def __init__(self, context):
        self._context, self._leave, inside = context, threading.Event(), threading.Event()

        def run():
            with context():
                inside.set()
                self._leave.wait(10)

        self._thread = threading.Thread(target=run)
        self._thread.start()
        assert inside.wait(10)

    def leave(self):
        self._leave.set()
        self._thread.join(10)
        assert not self._thread.is_alive()


def limited():
    return threadpool_limits(1, user_api="blas")


def test_one_thread_inside_and_all_outside(full):
    with one_blas_thread():
        assert counts() == ALONE
        with one_blas_thread():
            assert counts() == ALONE
        assert counts() == ALONE
    assert counts() == full


def test_ours_that_overlap_each_other(full):
    other = Elsewhere(one_blas_thread)
    with one_blas_thread():  # comes while the other is inside, and leaves after it
        other.leave()
    assert counts() == full


def test_theirs_ends_inside_ours(full):
    with one_blas_thread():
        pass
    theirs = Elsewhere(limited)
    with one_blas_thread():
        assert counts() == ALONE
        theirs.leave()
    assert counts() == full


def test_theirs_ends_inside_ours_and_allows_some(full):
    theirs = Elsewhere(lambda: threadpool_limits(2, user_api="blas"))
    with one_blas_thread():
        theirs.leave()
    assert counts() == full


def test_theirs_ends_after_ours(full):
    ours = Elsewhere(one_blas_thread)
    theirs = Elsewhere(limited)
    ours.leave()
    theirs.leave()  # what it found was our 1
    with one_blas_thread():
        pass
    assert counts() == full


def test_a_limit_that_holds_is_left_alone(full):
    with one_blas_thread():
        pass
    with limited():
        with one_blas_thread():
            assert counts() == ALONE
        assert counts() == ALONE
    assert counts() == full
    theirs = Elsewhere(limited)
    with one_blas_thread():
        pass
    assert counts() == ALONE
    theirs.leave()
    assert counts() == full


def test_a_limit_for_the_whole_program_is_left_alone(full):
    with one_blas_thread():
        pass
    for_good = limited()
    for _ in range(2):
        with one_blas_thread():
            pass
        assert counts() == ALONE
    with for_good:
        pass
    assert counts() == full


@pytest.mark.parametrize("allowed", [1, 2])
def test_a_limit_stays_kept_when_nobody_defends_it_any_more(full, allowed):
    """Whichever limit ends in a thread, threadpoolctl then takes that thread to have none."""
    with one_blas_thread():
        pass
    for_good = threadpool_limits(allowed, user_api="blas")
    for _ in range(3):
        with one_blas_thread():
            assert counts() == ALONE
        assert counts() == {allowed}
        with limited():
            pass
    with for_good:
        pass
    assert counts() == full


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_process_that_was_forked_meanwhile_gets_its_threads_back(full):
    other = Elsewhere(one_blas_thread)
    child = os.fork()
    if child == 0:
        with one_blas_thread():
            inside = counts()
        os._exit(0 if (inside, counts()) == (ALONE, full) else 1)
    _, status = os.waitpid(child, 0)
    other.leave()
    assert os.waitstatus_to_exitcode(status) == 0
