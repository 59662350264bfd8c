//! Boxes under attack from inside, over the server's own API: nothing leaves them, and the server and the other boxes
//! work on.

mod attack;
mod boxd;
mod client;
mod crashes;
mod files;
mod floods;
mod ground;
mod internet;
mod kernel;
mod limits;
mod network;
mod processes;
