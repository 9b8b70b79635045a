//! The full screen: a live view of one flow, for the person who waits for its packets.
//!
//! ```text
//! inputs → session → [`Snapshot`] (immutable)  ┐
//! keys, mouse → [`State`] (what is chosen)      ├→ [`frame::draw`] (pure) → terminal
//! settings file → [`Settings`] (keys, colours)  ┘
//! ```
//! Views make rows of a snapshot ([`view`]); they neither draw nor change anything. What a key asks of the rest of the
//! program comes out of the state as an [`Effect`].

pub mod changes;
pub mod chord;
pub mod combined;
pub mod driver;
pub mod feed;
pub mod frame;
pub mod keys;
pub mod log;
pub mod rows;
pub mod settings;
pub mod snapshot;
pub mod state;
pub mod svg;
pub mod terminal;
pub mod theme;
pub mod view;

pub use driver::Driver;
pub use feed::Feed;
pub use settings::Settings;
pub use snapshot::Snapshot;
pub use state::{Effect, State};
