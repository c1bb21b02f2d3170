//! The connection: credentials, subscription, clouds, transport.

mod transport;

pub use transport::{Transport, TransportBuilder};
