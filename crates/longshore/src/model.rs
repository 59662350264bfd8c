//! The model that the operator chose: by flags, else by the environment.

use anyhow::Result;
use longshore_protocol::{Llm, Secret};

use crate::{cli::ModelFlags, failure::usage, settings::Environment};

const MODEL: &str = "LLM_MODEL";
const BASE_URL: &str = "LLM_BASE_URL";
const API_KEY: &str = "LLM_API_KEY";

/// The name under which the cost of the agent's calls is counted.
const USAGE: &str = "agent";

impl ModelFlags {
    /// The chosen model; nothing if none was chosen.
    pub(crate) fn chosen(&self, environment: &Environment) -> Result<Option<Llm>> {
        let Some(name) = self.model.as_deref().or_else(|| environment.get(MODEL)) else { return Ok(None) };
        let mut llm = Llm { model: name.trim().to_owned(), usage_id: USAGE.to_owned(), ..Llm::default() };
        if llm.model.is_empty() {
            return Err(usage("--model is empty: give the name of a model, such as openai/gpt-5"));
        }
        llm.base_url = self.base_url.as_deref().or_else(|| environment.get(BASE_URL)).map(str::to_owned);
        llm.api_key = self.key(environment)?;
        Ok(Some(llm))
    }

    /// The chosen model.
    ///
    /// # Errors
    /// What to set, if none was chosen.
    pub(crate) fn required(&self, environment: &Environment) -> Result<Llm> {
        self.chosen(environment)?.ok_or_else(|| {
            usage(format!(
                "no model is configured. Set {MODEL} (such as openai/gpt-5) and {API_KEY}, and {BASE_URL} if the model is not \
                 at its provider's own address; or use --model, --api-key-env and --base-url. `longshore demo` shows an agent \
                 at work without a model"
            ))
        })
    }

    /// `llm` with what the flags say; the environment counts only for the key that a flag names.
    pub(crate) fn change(&self, llm: &Llm, environment: &Environment) -> Result<Option<Llm>> {
        if self.model.is_none() && self.base_url.is_none() && self.api_key_env.is_none() {
            return Ok(None);
        }
        // Another model is at another address and has another key.
        if self.model.is_some() {
            return self.chosen(environment);
        }
        let mut llm = llm.clone();
        if self.base_url.is_some() {
            llm.base_url.clone_from(&self.base_url);
        }
        if self.api_key_env.is_some() {
            llm.api_key = self.key(environment)?;
        }
        Ok(Some(llm))
    }

    fn key(&self, environment: &Environment) -> Result<Option<Secret>> {
        let name = self.api_key_env.as_deref().unwrap_or(API_KEY);
        match environment.get(name) {
            None if self.api_key_env.is_some() => Err(usage(format!("--api-key-env: the variable {name} is not set"))),
            key => Ok(key.map(Secret::new)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        let variables = [("LLM_MODEL", "m"), ("LLM_API_KEY", "k"), ("LLM_BASE_URL", "u"), ("OTHER", "o")];
        Environment::of(variables.map(|(name, value)| (name.to_owned(), value.to_owned())))
    }

    fn flags(model: Option<&str>, base_url: Option<&str>, api_key_env: Option<&str>) -> ModelFlags {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        ModelFlags { model: owned(model), base_url: owned(base_url), api_key_env: owned(api_key_env) }
    }

    fn parts(llm: Llm) -> (String, Option<String>, Option<String>) {
        (llm.model, llm.base_url, llm.api_key.map(|key| key.expose().to_owned()))
    }

    fn expected(model: &str, base_url: &str, key: &str) -> (String, Option<String>, Option<String>) {
        (model.to_owned(), Some(base_url.to_owned()), Some(key.to_owned()))
    }

    #[test]
    fn flags_go_before_the_environment() {
        let environment = environment();
        assert_eq!(parts(flags(None, None, None).required(&environment).unwrap()), expected("m", "u", "k"));
        let all = flags(Some("x"), Some("y"), Some("OTHER"));
        assert_eq!(parts(all.required(&environment).unwrap()), expected("x", "y", "o"));
        assert!(flags(None, None, Some("MISSING")).required(&environment).is_err());
        assert!(flags(None, None, None).required(&Environment::default()).is_err());
    }

    #[test]
    fn a_resumed_run_keeps_its_model_unless_a_flag_says_otherwise() {
        let environment = environment();
        let before = Llm { model: "old".to_owned(), base_url: Some("there".to_owned()), ..Llm::default() };
        assert_eq!(flags(None, None, None).change(&before, &environment).unwrap(), None);
        let with_key = flags(None, None, Some("OTHER")).change(&before, &environment).unwrap().unwrap();
        assert_eq!(parts(with_key), expected("old", "there", "o"));
        let other = flags(Some("new"), None, None).change(&before, &environment).unwrap().unwrap();
        assert_eq!(parts(other), expected("new", "u", "k"));
    }
}
