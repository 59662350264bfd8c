//! `[[model]]` and `[models]`: models that the operator gives to all users.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use longshore_llm::OperatedModel;
use longshore_protocol::{Llm, Secret};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::settings::Environment;

/// Bytes of a file with a key.
const MAX_KEY_BYTES: u64 = 16 * 1024;

/// Models of the operator.
const MAX_MODELS: usize = 1000;

/// Which models users may call.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ModelsRules {
    /// Whether users may call models of their own besides those in `[[model]]`: true by default.
    pub(crate) own: bool,
}

impl Default for ModelsRules {
    fn default() -> Self {
        Self { own: true }
    }
}

/// A model that the operator gives to all users, who name it `longshore/NAME` and need no key.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelEntry {
    /// The name after `longshore/`: letters, digits, `.`, `-` and `_`.
    name: String,
    /// The model with its provider: `openai/gpt-5`.
    model: String,
    /// Where the API is; the provider's own address if absent.
    base_url: Option<String>,
    /// The key. Better in a file or a variable.
    #[schemars(with = "Option<String>")]
    api_key: Option<Secret>,
    /// The variable of the environment that holds the key.
    api_key_env: Option<String>,
    /// The file that holds the key.
    api_key_file: Option<PathBuf>,
    /// The API version, for Azure.
    api_version: Option<String>,
    /// US dollars for a token read; the built-in table's if absent.
    #[serde(default, deserialize_with = "super::budget::dollars")]
    input_cost_per_token: Option<f64>,
    /// US dollars for a token written; the built-in table's if absent.
    #[serde(default, deserialize_with = "super::budget::dollars")]
    output_cost_per_token: Option<f64>,
    /// Tokens of an answer at most. Users may set less.
    max_output_tokens: Option<u64>,
    /// Tokens that the model can read.
    max_input_tokens: Option<u64>,
    /// How hard the model is to think; users decide if absent.
    reasoning_effort: Option<String>,
    /// The sampling temperature; users decide if absent.
    temperature: Option<f64>,
    /// Whether it is used where nobody names a model; otherwise the first one is.
    #[serde(default)]
    default: bool,
}

/// Models with their keys.
pub(crate) fn operated(entries: &[ModelEntry], environment: &Environment) -> Result<Vec<OperatedModel>> {
    if entries.len() > MAX_MODELS {
        bail!("there are more than {MAX_MODELS} [[model]] entries");
    }
    for (index, entry) in entries.iter().enumerate() {
        let is_plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_');
        if entry.name.is_empty() || entry.name.len() > 100 || !entry.name.chars().all(is_plain) {
            bail!("[[model]] name {:?}: give 1 to 100 letters, digits, '.', '-' or '_'", entry.name);
        }
        if entries[..index].iter().any(|other| other.name == entry.name) {
            bail!("two [[model]] entries have the name {:?}", entry.name);
        }
    }
    if entries.iter().filter(|entry| entry.default).count() > 1 {
        bail!("more than one [[model]] has default = true");
    }
    entries.iter().map(|entry| entry.operated(environment)).collect()
}

impl ModelEntry {
    fn operated(&self, environment: &Environment) -> Result<OperatedModel> {
        let api_key = self.key(environment).with_context(|| format!("the key of [[model]] {:?}", self.name))?;
        let llm = Llm {
            model: self.model.clone(),
            base_url: self.base_url.clone(),
            api_key,
            api_version: self.api_version.clone(),
            input_cost_per_token: self.input_cost_per_token,
            output_cost_per_token: self.output_cost_per_token,
            max_output_tokens: self.max_output_tokens,
            max_input_tokens: self.max_input_tokens,
            reasoning_effort: self.reasoning_effort.clone(),
            temperature: self.temperature,
            ..Llm::default()
        };
        Ok(OperatedModel { name: self.name.clone(), llm, is_default: self.default })
    }

    fn key(&self, environment: &Environment) -> Result<Option<Secret>> {
        let key = match (&self.api_key, &self.api_key_env, &self.api_key_file) {
            (None, None, None) => return Ok(None),
            (Some(key), None, None) => key.expose().trim().to_owned(),
            (None, Some(name), None) => {
                let value = environment.get(name).with_context(|| format!("the variable {name} is not set"))?;
                value.trim().to_owned()
            }
            (None, None, Some(path)) => read(path)?,
            _ => bail!("give only one of api_key, api_key_env and api_key_file"),
        };
        if key.is_empty() {
            bail!("it is empty");
        }
        Ok(Some(Secret::new(key)))
    }
}

fn read(path: &Path) -> Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path);
    let read = file.and_then(|file| file.take(MAX_KEY_BYTES + 1).read_to_string(&mut text));
    read.with_context(|| format!("the file {} cannot be read", path.display()))?;
    if text.len() as u64 > MAX_KEY_BYTES {
        bail!("the file {} is larger than {MAX_KEY_BYTES} bytes", path.display());
    }
    Ok(text.trim().to_owned())
}
