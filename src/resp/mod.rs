//! The wire protocol: requests in, replies out, RESP2 and RESP3. Knows nothing of commands.

mod double;
mod reply;
mod request;
mod split;
mod value;
mod woven;

pub use double::{DoubleBuffer, format_double};
pub use reply::{Deferred, Protocol, Reply};
pub use request::{Limits, ProtocolError, Request, RequestReader};
pub use split::split_args;
pub use value::{DecodeError, ReplyValue};
pub use woven::{Block, RUN_BYTES_MIN, Run, Runs, Woven, WovenSlice};
