//! The place an agent works in: processes, PTYs, files, git.
