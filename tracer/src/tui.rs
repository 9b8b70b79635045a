//! The full screen: a live view of one flow, for the person who waits for its packets.
//!
//! ```text
//! inputs → session → [`Snapshot`] (immutable)  ┐
//! keys, mouse → [`State`] (what is chosen)      ├→ [`frame::draw`] (pure) → terminal
//! settings file → [`Settings`] (keys, colours)  ┘
//! ```
//! Views make rows of a snapshot ([`view`]); they neither draw nor change anything. What a key asks of the rest of the
//! program comes out of the state as an [`Effect`].

pub mod chord;
pub mod driver;
pub mod feed;
pub mod frame;
pub mod fresh;
pub mod keys;
pub mod log;
pub mod picture;
pub mod rows;
pub mod settings;
pub mod snapshot;
pub mod state;
pub mod terminal;
pub mod theme;
pub mod together;
pub mod view;

pub use driver::Driver;
pub use feed::Feed;
pub use settings::Settings;
pub use snapshot::Snapshot;
pub use state::{Effect, State};
