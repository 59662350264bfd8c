//! Boxes of bubblewrap.
