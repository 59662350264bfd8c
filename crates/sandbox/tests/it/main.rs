//! Boxes from the outside.
