//! Typed bodies, queries and paths, with the official server's answers for what does not fit (contract: server §2.5).

mod bounds;
mod json;
mod pairs;
mod problem;
mod query;
mod shape;
mod time;

pub(crate) use bounds::{Least, bounded};
pub(crate) use json::{ApiJson, OptionalJson, parse};
pub(crate) use problem::{MISMATCH, Problem};
pub(crate) use query::{ApiPath, ApiQuery, RawPath};
pub(crate) use time::WallTime;
