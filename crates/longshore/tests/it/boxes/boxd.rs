//! The server's hands in the box.
