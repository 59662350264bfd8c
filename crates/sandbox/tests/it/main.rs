//! Boxes from the outside.

mod egress;
