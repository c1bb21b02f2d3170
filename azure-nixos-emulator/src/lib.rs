//! A local Azure for tests and first steps.

mod clock;

pub use clock::Clock;
