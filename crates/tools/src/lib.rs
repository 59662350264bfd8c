//! The agent's tools over a Workspace.
