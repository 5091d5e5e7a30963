//! The mutex of the code that delivers events to sessions: `parking_lot`'s.
//!
//! In this crate's unit tests, a mutex that is created inside `check_interleavings` is
//! shuttle's instead. shuttle then chooses the next task at each lock, and so runs the tasks
//! in many orders. All other mutexes stay `parking_lot`'s.

#[cfg(not(test))]
pub(crate) use parking_lot::Mutex;

#[cfg(test)]
pub(crate) use self::model::{Mutex, check_interleavings};

#[cfg(test)]
mod model {
    use std::cell::Cell;
    use std::ops::{Deref, DerefMut};
    use std::sync::PoisonError;

    use shuttle::scheduler::{PctScheduler, RandomScheduler};
    use shuttle::{Config, Runner};

    #[derive(Debug)]
    pub(crate) enum Mutex<T> {
        Real(parking_lot::Mutex<T>),
        Model(shuttle::sync::Mutex<T>),
    }

    pub(crate) enum MutexGuard<'a, T> {
        Real(parking_lot::MutexGuard<'a, T>),
        Model(shuttle::sync::MutexGuard<'a, T>),
    }

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            if IS_MODEL.get() {
                Self::Model(shuttle::sync::Mutex::new(value))
            } else {
                Self::Real(parking_lot::Mutex::new(value))
            }
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            match self {
                Self::Real(mutex) => MutexGuard::Real(mutex.lock()),
                Self::Model(mutex) => {
                    MutexGuard::Model(mutex.lock().unwrap_or_else(PoisonError::into_inner))
                }
            }
        }
    }

    impl<T: Default> Default for Mutex<T> {
        fn default() -> Self {
            Self::new(T::default())
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            match self {
                Self::Real(guard) => guard,
                Self::Model(guard) => guard,
            }
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            match self {
                Self::Real(guard) => guard,
                Self::Model(guard) => guard,
            }
        }
    }

    /// Runs `body` in `2 * iterations` interleavings of its shuttle tasks: half of them random,
    /// half with few preemptions (PCT). They are the same in every run. A panic and a deadlock
    /// fail the test, and print the interleaving.
    pub(crate) fn check_interleavings(iterations: usize, body: fn()) {
        /// Ends the model, also when it fails: the test harness may use the thread again.
        struct Reset;
        impl Drop for Reset {
            fn drop(&mut self) {
                IS_MODEL.set(false);
            }
        }
        let _reset = Reset;
        let body = move || {
            IS_MODEL.set(true);
            body();
        };
        let mut config = Config::new();
        config.stack_size = STACK_BYTES;
        let random = RandomScheduler::new_from_seed(SEED, iterations);
        Runner::new(random, config.clone()).run(body);
        let pct = PctScheduler::new_from_seed(SEED, MAX_PREEMPTIONS, iterations);
        Runner::new(pct, config).run(body);
    }

    thread_local! {
        /// Whether this thread runs a model. shuttle runs all tasks of a model on one thread.
        static IS_MODEL: Cell<bool> = const { Cell::new(false) };
    }

    const SEED: u64 = 7;
    const MAX_PREEMPTIONS: usize = 4;
    /// Unoptimized code needs more than shuttle's 60 KiB.
    const STACK_BYTES: usize = 256 * 1024;
}
