//! The only way out of a box, from its programs' side: what they say, what they get, and what never arrives anywhere.

mod accept;
mod addresses;
mod denials;
mod http;
mod limits;
mod program;
mod servers;
mod socks;
mod spelling;
mod tunnels;
mod world;
