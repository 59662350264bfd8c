//! How a terminal is set up by the agent that has it.

use std::{path::PathBuf, time::Duration};

use serde_json::{Map, Value};

/// Seconds without new output after which a command is left to run on.
const NO_CHANGE: u64 = 30;

/// No command is waited for longer; a larger setting means this.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// The settings of a terminal.
#[derive(Clone)]
pub(crate) struct Settings {
    /// How long a command may print nothing before it is left to run on.
    pub(super) no_change: Duration,
    /// The shell; by default bash, or else sh.
    pub(super) shell: Option<PathBuf>,
    /// Variables of the shell.
    pub(super) env: Vec<(String, String)>,
    /// The longest time that a command may ask to be waited for.
    pub(super) max_timeout: Option<Duration>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Variables may hold secrets.
        f.debug_struct("Settings")
            .field("no_change", &self.no_change)
            .field("shell", &self.shell)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Reads the settings of a tool spec. Unknown ones are ignored, and so are `username` and `terminal_type`: the shell
    /// runs as the workspace's user, on a terminal of its own.
    ///
    /// # Errors
    /// A sentence on which setting is wrong.
    pub(crate) fn read(params: &Map<String, Value>, max_timeout: Option<Duration>) -> Result<Self, String> {
        Ok(Self { no_change: no_change(params)?, shell: shell(params)?, env: env(params)?, max_timeout })
    }
}

/// The value of a setting that is given and not null.
fn given<'a>(params: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    params.get(name).filter(|value| !value.is_null())
}

fn no_change(params: &Map<String, Value>) -> Result<Duration, String> {
    let Some(value) = given(params, "no_change_timeout_seconds") else { return Ok(Duration::from_secs(NO_CHANGE)) };
    match value.as_f64() {
        Some(seconds) if seconds > 0.0 => Ok(Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST)),
        _ => Err("no_change_timeout_seconds must be a number above 0".to_owned()),
    }
}

fn shell(params: &Map<String, Value>) -> Result<Option<PathBuf>, String> {
    let Some(value) = given(params, "shell_path") else { return Ok(None) };
    let path = value.as_str().filter(|path| !path.is_empty()).ok_or("shell_path must be the path of a shell")?;
    let path = PathBuf::from(path);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if name.starts_with("bash") || ["sh", "dash", "ash", "ksh", "mksh"].contains(&name.as_str()) {
        Ok(Some(path))
    } else {
        Err(format!("shell_path '{}' is neither bash nor a POSIX sh", path.display()))
    }
}

fn env(params: &Map<String, Value>) -> Result<Vec<(String, String)>, String> {
    let Some(value) = given(params, "env") else { return Ok(Vec::new()) };
    let variables = value.as_object().ok_or("env must be an object of names and texts")?;
    variables
        .iter()
        .map(|(name, value)| {
            let is_name = !name.is_empty() && !name.contains(['=', '\0']);
            match value.as_str().filter(|text| is_name && !text.contains('\0')) {
                Some(text) => Ok((name.clone(), text.to_owned())),
                None => Err(format!("env: variable '{name}' must have a text as its value, and no '=' in its name")),
            }
        })
        .collect()
}

/// A time as the model reads it: `30`, not `30.0`.
pub(super) fn seconds(time: Duration) -> String {
    time.as_secs_f64().to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(params: Value) -> Result<Settings, String> {
        Settings::read(params.as_object().unwrap(), None)
    }

    #[test]
    fn settings_are_read_and_unknown_ones_ignored() {
        let settings = read(json!({"username": "me", "terminal_type": "tmux", "x": 1})).unwrap();
        assert_eq!((settings.no_change, settings.shell, settings.env.len()), (Duration::from_secs(30), None, 0));
        let params =
            json!({"no_change_timeout_seconds": 2, "shell_path": "/bin/sh", "env": {"A": "b"}, "username": null});
        let settings = read(params).unwrap();
        assert_eq!(settings.no_change, Duration::from_secs(2));
        assert_eq!(settings.shell, Some("/bin/sh".into()));
        assert_eq!(settings.env, [("A".to_owned(), "b".to_owned())]);
        assert_eq!(seconds(Duration::from_secs(30)), "30");
        assert_eq!(read(json!({"no_change_timeout_seconds": 1e300})).unwrap().no_change, LONGEST);
    }

    #[test]
    fn wrong_settings_are_named() {
        for (params, name) in [
            (json!({"no_change_timeout_seconds": "5"}), "no_change_timeout_seconds"),
            (json!({"no_change_timeout_seconds": 0}), "no_change_timeout_seconds"),
            (json!({"shell_path": 3}), "shell_path"),
            (json!({"shell_path": "/usr/bin/fish"}), "shell_path"),
            (json!({"env": ["A"]}), "env"),
            (json!({"env": {"A": 1}}), "'A'"),
            (json!({"env": {"A=B": "1"}}), "'A=B'"),
        ] {
            let error = read(params).unwrap_err();
            assert!(error.contains(name), "{error}");
        }
    }
}
