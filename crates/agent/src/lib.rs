//! The agent as a value: a state machine without I/O.
