//! The variables that processes get: a list of what is allowed, so that a key of the server reaches none of them.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
};

use crate::guard::{Guard, MARKER};

/// What a process may know of the server's environment. `LC_*` comes on top.
const ALLOWED: [&str; 17] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TERM",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
];

/// The variables that every process gets.
pub(super) struct Environment {
    variables: BTreeMap<OsString, OsString>,
    marker: Option<OsString>,
}

impl Environment {
    pub(super) fn new(
        inherited: Vec<(OsString, OsString)>,
        fixed: Vec<(OsString, OsString)>,
        guard: Option<&Guard>,
    ) -> Self {
        let mut variables: BTreeMap<_, _> = inherited.into_iter().collect();
        variables.insert("AI_AGENT".into(), "openhands".into());
        variables.extend(fixed);
        Self { variables, marker: guard.map(|guard| guard.marker().into()) }
    }

    /// The variables of a process that asks for `extra` ones. The guard's mark cannot be asked away.
    pub(super) fn with(&self, extra: Vec<(OsString, OsString)>) -> BTreeMap<OsString, OsString> {
        let mut variables = self.variables.clone();
        variables.extend(extra);
        if let Some(marker) = &self.marker {
            variables.insert(MARKER.into(), marker.clone());
        }
        variables
    }
}

/// Whether processes may get the variable `name`: by the list, or because it is one of `more`.
pub(super) fn is_allowed(name: &OsStr, more: &[String]) -> bool {
    ALLOWED.iter().any(|allowed| name == *allowed)
        || name.as_encoded_bytes().starts_with(b"LC_")
        || more.iter().any(|allowed| name == &**allowed)
}
