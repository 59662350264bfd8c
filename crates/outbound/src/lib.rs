//! Requests that the server makes for its users.
//!
//! Users name addresses that the server asks from its own place in the network: models, secrets to look up, images.
//! [`Client`] is the only way to ask them. It takes these steps, and the first that fails is the [`Error`]:
//! 1. The URL must be of http or https, on a port that the operator uses, and its host not one that the operator denies.
//!    An address in the URL is judged here.
//! 2. A name is looked up, and addresses that the [`Policy`] closes are left out: those of this machine, of private
//!    networks, of a cloud's metadata.
//! 3. The connection goes to one of the addresses that are left. There is no second look-up whose answer could differ.
//! 4. If the answer is a redirect, all begins again for the place where it leads, up to ten times.
//!
//! What an address is ([`address`]) and what an entry of a list means ([`host`]) serves the way out of boxes as well.

pub mod address;
mod client;
mod error;
pub mod host;
mod names;
mod policy;
mod redirect;
mod resolve;
mod route;

pub use client::{Client, Options, read_limited};
pub use error::{Error, ErrorKind};
pub use policy::{Invalid, Policy};
/// What requests are made of. A crate that takes these from here has no other client to send them with.
pub use reqwest::{Body, Method, Request, Response, StatusCode, Url, header};
pub use resolve::{Resolver, SystemResolver};
