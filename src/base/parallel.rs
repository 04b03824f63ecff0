//! Runs the same work on many items in parallel.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

/// The number of threads that this machine runs in parallel.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get())
}

/// Calls `work` for every item on up to `threads` threads and returns the
/// results in the order of the items. If `work` panics, so does the caller, as
/// soon as the other threads have finished.
pub fn map<T: Sync, R: Send>(items: &[T], threads: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let run = || {
        let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < items.len());
        std::iter::from_fn(take)
            .map(|at| (at, work(&items[at])))
            .collect::<Vec<_>>()
    };
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        let started: Vec<_> = (0..threads.min(items.len()))
            .map(|_| scope.spawn(run))
            .collect();
        let finished = started.into_iter().map(|thread| thread.join());
        finished
            .flat_map(|result| result.unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    });
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Lets only some threads through at a time.
pub struct Gate {
    free: Mutex<usize>,
    left: Condvar,
}

/// While it lives, its thread is one of those that are through.
pub struct Pass<'a>(&'a Gate);

impl Gate {
    pub fn new(threads: usize) -> Gate {
        Gate {
            free: Mutex::new(threads),
            left: Condvar::new(),
        }
    }

    /// Waits until it may go through.
    pub fn pass(&self) -> Pass<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.left.wait_while(free, |free| *free == 0);
        *free.unwrap_or_else(PoisonError::into_inner) -= 1;
        Pass(self)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let free = &self.0.free;
        *free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_items() {
        let items: Vec<u64> = (0..100).collect();
        let work = |n: &u64| {
            thread::sleep(std::time::Duration::from_micros(100 - n));
            n * 2
        };
        let doubled: Vec<u64> = items.iter().map(|n| n * 2).collect();
        for threads in [1, 3, 200] {
            assert_eq!(map(&items, threads, work), doubled);
        }
        assert!(map(&[], 4, work).is_empty());
    }

    #[test]
    fn a_gate_lets_only_some_through() {
        let (gate, inside) = (Gate::new(3), AtomicUsize::new(0));
        let most = AtomicUsize::new(0);
        let work = |_: &u32| {
            let _pass = gate.pass();
            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(std::time::Duration::from_millis(5));
            inside.fetch_sub(1, Ordering::SeqCst);
        };
        map(&[0; 40], 20, work);
        assert_eq!(most.into_inner(), 3);
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        let work = |n: &u32| assert_ne!(*n, 2, "item {n}");
        let result = std::panic::catch_unwind(|| map(&[1, 2, 3], 2, work));
        assert!(result.is_err());
    }
}
