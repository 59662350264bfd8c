//! What the operator set: flags first, then the environment (contract: server §1.2).

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use longshore_protocol::Secret;

/// The environment, read once.
#[derive(Clone, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// What this process was started with, as far as it is text.
    pub(crate) fn of_process() -> Self {
        Self::of(
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    pub(crate) fn of(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(variables.into_iter().collect())
    }

    /// A variable that is set to something.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.trim().is_empty())
    }

    /// Whether a variable is set to `1` or `true`.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| matches!(value.to_ascii_uppercase().as_str(), "1" | "TRUE"))
    }

    /// Keys that clients may show: any of `SESSION_API_KEY`, `OH_SESSION_API_KEYS` and `OH_SESSION_API_KEYS_0` and on.
    pub(crate) fn session_keys(&self) -> Result<Vec<Secret>> {
        let mut keys = self.list("OH_SESSION_API_KEYS")?;
        keys.extend(self.get("SESSION_API_KEY").map(str::to_owned));
        keys.sort();
        keys.dedup();
        Ok(keys.into_iter().map(Secret::new).collect())
    }

    /// The key that encrypts secrets at rest.
    pub(crate) fn secret_key(&self) -> Option<Secret> {
        self.get("OH_SECRET_KEY").map(Secret::new)
    }

    /// Keys that secrets at rest may still be encrypted with.
    pub(crate) fn previous_secret_keys(&self) -> Result<Vec<Secret>> {
        Ok(self.list("OH_PREVIOUS_SECRET_KEYS")?.into_iter().map(Secret::new).collect())
    }

    /// A list: a JSON array in `name`, or `name_0`, `name_1` and so on.
    pub(crate) fn list(&self, name: &str) -> Result<Vec<String>> {
        let mut items = Vec::new();
        if let Some(text) = self.get(name).filter(|text| text.parse::<usize>().is_err()) {
            // The value may be a key, so it is not repeated in the error.
            let Ok(list) = serde_json::from_str::<Vec<String>>(text) else {
                bail!("{name} is not a JSON list of texts, such as [\"one\", \"two\"]");
            };
            items.extend(list);
        }
        items.extend((0..).map_while(|index| self.0.get(&format!("{name}_{index}"))).cloned());
        items.retain(|item| !item.trim().is_empty());
        Ok(items)
    }

    /// The folder for everything durable: an absolute path.
    pub(crate) fn data_dir(&self, flag: Option<PathBuf>) -> Result<PathBuf> {
        let from = |name: &str| self.get(name).map(PathBuf::from);
        let folder = flag
            .or_else(|| from("LONGSHORE_DATA_DIR"))
            .or_else(|| from("OH_PERSISTENCE_DIR"))
            .or_else(|| from("XDG_DATA_HOME").map(|folder| folder.join("longshore")))
            .or_else(|| from("HOME").map(|folder| folder.join(".local/share/longshore")))
            .context("there is no folder to keep things in: give one with --data-dir")?;
        std::path::absolute(&folder).with_context(|| format!("the folder {} cannot be resolved", folder.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::of(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    fn keys(variables: &[(&str, &str)]) -> Vec<String> {
        let keys = environment(variables).session_keys().unwrap();
        keys.iter().map(|key| key.expose().to_owned()).collect()
    }

    #[test]
    fn all_forms_of_session_keys_count() {
        assert_eq!(
            keys(&[
                ("SESSION_API_KEY", "a"),
                ("OH_SESSION_API_KEYS_0", "b"),
                ("OH_SESSION_API_KEYS_1", "c"),
                ("OH_SESSION_API_KEYS", r#"["d", ""]"#),
            ]),
            ["a", "b", "c", "d"]
        );
        assert_eq!(keys(&[("OH_SESSION_API_KEYS", "2"), ("OH_SESSION_API_KEYS_0", "x")]), ["x"]);
        assert_eq!(keys(&[("SESSION_API_KEY", " ")]), [""; 0]);
    }

    #[test]
    fn a_wrong_list_is_refused_without_being_shown() {
        let error = environment(&[("OH_SESSION_API_KEYS", "s3cr3t")]).session_keys().unwrap_err();
        assert!(!format!("{error:?}").contains("s3cr3t"));
    }

    #[test]
    fn the_data_folder_is_the_first_that_is_named() {
        let home =
            [("HOME", "/h"), ("XDG_DATA_HOME", "/x"), ("OH_PERSISTENCE_DIR", "/o"), ("LONGSHORE_DATA_DIR", "/l")];
        let folders: Vec<_> = (1..=4).map(|count| environment(&home[..count]).data_dir(None).unwrap()).collect();
        assert_eq!(folders, ["/h/.local/share/longshore", "/x/longshore", "/o", "/l"].map(PathBuf::from));
        assert_eq!(environment(&home).data_dir(Some("/f".into())).unwrap(), PathBuf::from("/f"));
    }
}
