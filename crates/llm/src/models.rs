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
    Error, ErrorKind, Model,
    chat::ChatModel,
    operated::{ModelCard, Operated, OperatedModel, PREFIX},
    price::PriceList,
    record::{Recorder, Replayer},
    scripted::{Scripted, Turn},
};

/// What models are made with.
#[derive(Debug, Clone, Default)]
pub struct ModelsOptions {
    /// The folder of `scripted/…`, `record/…` and `replay/…`; without one, only built-in scripts exist.
    pub models_dir: Option<PathBuf>,
    /// The client for the addresses of users. It decides which may be reached; time limits are set per request.
    pub http: Client,
    /// The client for the operator's models, which may be anywhere.
    pub http_trusted: Client,
    /// Models that the operator gives to all users.
    pub operated: Vec<OperatedModel>,
    /// Whether users may call only those.
    pub operated_only: bool,
    /// Whether calls with a key of the operator's environment cost what the table of prices says, and not what a user's
    /// configuration says.
    pub distrust_prices: bool,
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

/// Who configured a model.
#[derive(Debug, Clone, Copy)]
enum Whose {
    User,
    Operator,
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
        if let Some(name) = llm.model.strip_prefix(PREFIX) {
            return self.operated(llm, name);
        }
        if self.options.operated_only {
            return Err(Error::bad_request(format!(
                "This server calls only the models of its operator: {}.",
                self.choice()
            )));
        }
        self.make(llm, Whose::User)
    }

    /// What users may know of the operator's models.
    pub fn cards(&self) -> Vec<ModelCard> {
        let default = self.operator_default();
        let card = |model: &OperatedModel| {
            let name = model.full_name();
            let prices = PriceList::of(&model.llm).per_token();
            ModelCard {
                is_default: default.as_ref() == Some(&name),
                name,
                model: model.llm.model.clone(),
                input_cost_per_token: prices.map(|(input, _)| input),
                output_cost_per_token: prices.map(|(_, output)| output),
                max_output_tokens: model.llm.max_output_tokens,
            }
        };
        self.options.operated.iter().map(card).collect()
    }

    /// The name of the operator's model for those who name none: the one that is marked, else the first.
    pub fn operator_default(&self) -> Option<String> {
        let models = &self.options.operated;
        models.iter().find(|model| model.is_default).or_else(|| models.first()).map(OperatedModel::full_name)
    }

    /// Makes each of the operator's models once, so that a mistake is found at start. No request is made.
    ///
    /// # Errors
    /// The name of the first that cannot work, and why, in words for the operator.
    pub fn check(&self) -> Result<(), (String, Error)> {
        self.options.operated.iter().try_for_each(|model| match self.make(&model.llm, Whose::Operator) {
            Ok(_) => Ok(()),
            Err(error) => Err((model.name.clone(), error)),
        })
    }

    fn operated(&self, llm: &Llm, name: &str) -> Result<Arc<dyn Model>, Error> {
        let Some(operated) = self.options.operated.iter().find(|model| model.name == name) else {
            let shown: String = name.chars().take(100).collect();
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("The operator has no model {PREFIX}{shown}: {}.", self.choice()),
            ));
        };
        let configured = operated.configured(llm);
        let model = self.make(&configured, Whose::Operator)?;
        Ok(Arc::new(Operated::new(operated.full_name(), model, &configured, &self.options.environment)))
    }

    /// What a user can do who named a model that is not to be had.
    fn choice(&self) -> String {
        let names: Vec<_> = self.options.operated.iter().map(OperatedModel::full_name).collect();
        if names.is_empty() { "there are none".to_owned() } else { format!("set model to one of {}", names.join(", ")) }
    }

    fn make(&self, llm: &Llm, whose: Whose) -> Result<Arc<dyn Model>, Error> {
        let options = &self.options;
        match llm.model.split_once('/') {
            Some(("scripted", name)) => match options.scripts.get(name) {
                Some(turns) => Ok(Arc::new(Scripted::new(llm, turns.clone()))),
                None => Ok(Arc::new(Scripted::open(llm, self.folder(&llm.model)?, name)?)),
            },
            Some(("replay", name)) => Ok(Arc::new(Replayer::open(llm, self.folder(&llm.model)?, name)?)),
            Some(("record", names)) => self.recorder(llm, names, whose),
            _ => self.chat(llm, whose),
        }
    }

    fn recorder(&self, llm: &Llm, names: &str, whose: Whose) -> Result<Arc<dyn Model>, Error> {
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
        let answering = match whose {
            Whose::User => self.resolve(&model)?,
            Whose::Operator => self.make(&model, whose)?,
        };
        Ok(Arc::new(Recorder::open(&model, answering, folder, file)?))
    }

    fn chat(&self, llm: &Llm, whose: Whose) -> Result<Arc<dyn Model>, Error> {
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
        let (http, trusts_prices) = match whose {
            Whose::User => (&self.options.http, !self.options.distrust_prices),
            Whose::Operator => (&self.options.http_trusted, true),
        };
        let model = ChatModel::new(llm, http.clone(), &self.options.environment, trusts_prices)?;
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
