//! Boxes from first use to the end.

mod deaths;
mod ends;
mod first_use;
mod limits;
mod log;
mod machine;
mod pools;
mod real;
mod restarts;
mod sleep;
mod world;
