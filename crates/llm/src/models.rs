//! From a configuration to a model.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use longshore_outbound::Client;
use longshore_outbound::header::HeaderMap;
use longshore_protocol::{Llm, Secret, llm::ApiMode};

use crate::{
    Error, Model,
    chat::ChatModel,
    record::{Recorder, Replayer},
    scripted::{Scripted, Turn},
};

/// What models are made with.
#[derive(Debug, Clone, Default)]
pub struct ModelsOptions {
    /// The folder of `scripted/…`, `record/…` and `replay/…`; without one, only built-in scripts exist.
    pub models_dir: Option<PathBuf>,
    /// The client for all requests, which decides which addresses may be reached; by default public ones alone.
    pub http: Client,
    /// Keys and addresses that the operator gives to configurations without their own.
    pub environment: Environment,
    /// Scripts that `scripted/<name>` finds without a folder, before those of the folder.
    pub scripts: BTreeMap<String, Vec<Turn>>,
    /// Makes headers of each request when it leaves, after those of the configuration: a trace that goes on at the provider.
    pub trace: Option<fn() -> HeaderMap>,
}

/// The variables of the environment that name keys and addresses of providers.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, Secret>);

impl Environment {
    /// Takes what this process was started with.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The first key that is set.
    pub(crate) fn key(&self, names: &[&str]) -> Option<Secret> {
        names.iter().find_map(|name| self.0.get(*name)).cloned()
    }

    /// The first address that is set beside a key's variable.
    pub(crate) fn address(&self, keys: &[&str]) -> Option<&str> {
        keys.iter().filter_map(|key| key.strip_suffix("_API_KEY")).find_map(|stem| {
            ADDRESS_ENDINGS.iter().find_map(|ending| self.0.get(&format!("{stem}{ending}"))).map(Secret::expose)
        })
    }
}

const ADDRESS_ENDINGS: [&str; 2] = ["_API_BASE", "_BASE_URL"];

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    /// Keeps keys and addresses; everything else and everything blank is left out.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        let is_wanted = |name: &str| {
            name.ends_with("_API_KEY")
                || name == "HF_TOKEN"
                || ADDRESS_ENDINGS.iter().any(|ending| name.ends_with(ending))
        };
        let wanted = variables.filter(|(name, value): &(String, String)| is_wanted(name) && !value.trim().is_empty());
        Self(wanted.map(|(name, value)| (name, Secret::new(value.trim()))).collect())
    }
}

/// Makes models.
#[derive(Debug, Clone)]
pub struct Models {
    options: Arc<ModelsOptions>,
}

impl Models {
    /// A maker with these options.
    pub fn new(options: ModelsOptions) -> Self {
        Self { options: Arc::new(options) }
    }

    /// The model that a configuration describes. No request is made, so a wrong key is found only when the model is asked;
    /// scripts and recordings are read, which takes as long as reading a file does.
    ///
    /// # Errors
    /// A configuration that cannot work, with what to change: an unknown provider, a bad address, a missing key, a script
    /// that does not exist or has mistakes.
    pub fn resolve(&self, llm: &Llm) -> Result<Arc<dyn Model>, Error> {
        let options = &self.options;
        match llm.model.split_once('/') {
            Some(("scripted", name)) => match options.scripts.get(name) {
                Some(turns) => Ok(Arc::new(Scripted::new(llm, turns.clone()))),
                None => Ok(Arc::new(Scripted::open(llm, self.folder(&llm.model)?, name)?)),
            },
            Some(("replay", name)) => Ok(Arc::new(Replayer::open(llm, self.folder(&llm.model)?, name)?)),
            Some(("record", names)) => self.recorder(llm, names),
            _ => self.chat(llm),
        }
    }

    fn recorder(&self, llm: &Llm, names: &str) -> Result<Arc<dyn Model>, Error> {
        let Some((file, model)) = names.split_once('+') else {
            return Err(Error::bad_request(format!(
                "The model name {:?} lacks the model to record: write record/<file>+<model>.",
                llm.model
            )));
        };
        if model.starts_with("record/") || model.starts_with("replay/") {
            return Err(Error::bad_request(format!(
                "{model:?} cannot be recorded: name a model that answers by itself."
            )));
        }
        let folder = self.folder(&llm.model)?;
        let model = Llm { model: model.to_owned(), ..llm.clone() };
        let answering = self.resolve(&model)?;
        Ok(Arc::new(Recorder::open(&model, answering, folder, file)?))
    }

    fn chat(&self, llm: &Llm) -> Result<Arc<dyn Model>, Error> {
        if llm.api_mode == ApiMode::Responses {
            return Err(Error::bad_request(
                "api_mode \"responses\" is not supported yet: set it to \"auto\" or \"chat\" to use chat completions.",
            ));
        }
        if llm.auth_type == "subscription" || llm.is_subscription {
            return Err(Error::bad_request(
                "auth_type \"subscription\" is not supported yet: set it to \"api_key\" and give an API key.",
            ));
        }
        if !llm.native_tool_calling {
            return Err(Error::bad_request(
                "native_tool_calling: false is not supported yet: set it to true and use a model with tool calls of its own.",
            ));
        }
        let model = ChatModel::new(llm, self.options.http.clone(), &self.options.environment)?;
        Ok(Arc::new(model.traced(self.options.trace)))
    }

    fn folder(&self, model: &str) -> Result<&Path, Error> {
        self.options.models_dir.as_deref().ok_or_else(|| {
            Error::bad_request(format!(
                "The model {model:?} lives in the operator's folder for models, and this server has none: start it with \
                 --models-dir DIR."
            ))
        })
    }
}
