//! A server of one's own: who may ask, what workspaces are made from, what stands around the routes, and routes besides them.

use std::{convert::Infallible, fmt, sync::Arc};

use axum::{Router, extract::Request, response::IntoResponse, routing::Route};
use longshore_engine::Engine;
use tower::{Layer, Service};

use crate::{Authenticator, Options, SandboxPlaces, Server, StaticKeys, WorkspaceFactory, Workspaces, state::AppState};

/// A server that is being put together. Where nothing is said, everybody is the single user, and workspaces are made from
/// what is stored with their users.
pub struct ServerBuilder {
    pub(crate) engine: Engine,
    places: SandboxPlaces,
    pub(crate) workspaces: Arc<dyn Workspaces>,
    pub(crate) options: Options,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) extensions: Extensions,
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

impl ServerBuilder {
    pub(crate) fn new(engine: Engine, places: SandboxPlaces) -> Self {
        Self {
            engine,
            workspaces: Arc::new(places.clone()),
            places,
            options: Options::default(),
            authenticator: Arc::new(StaticKeys::new([])),
            extensions: Extensions::default(),
        }
    }

    /// What the operator decides about the server.
    #[must_use]
    pub fn options(self, options: Options) -> Self {
        Self { options, ..self }
    }

    /// Who tells who asks.
    #[must_use]
    pub fn authenticator(self, authenticator: Arc<dyn Authenticator>) -> Self {
        Self { authenticator, ..self }
    }

    /// What users' workspaces are made from, those of conversations too; a function of the user will do.
    #[must_use]
    pub fn workspace_factory(self, factory: impl WorkspaceFactory + 'static) -> Self {
        self.places.decide_by(Arc::new(factory));
        self
    }

    /// Puts a layer around all routes, below request ids, logs, CORS and the check of hosts. The one that is added last
    /// sees requests first.
    #[must_use]
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoResponse + 'static,
        <L::Service as Service<Request>>::Error: Into<Infallible> + 'static,
        <L::Service as Service<Request>>::Future: Send + 'static,
    {
        self.extensions.layers.push(Box::new(move |router| router.layer(layer.clone())));
        self
    }

    /// Adds routes for principals: their handlers can take a [`Principal`](crate::Principal) as an argument. Requests that
    /// change something need the scope `write`, others `read`.
    #[must_use]
    pub fn routes(mut self, routes: Router) -> Self {
        self.extensions.guarded = self.extensions.guarded.merge(routes);
        self
    }

    /// Adds routes that are open to all.
    #[must_use]
    pub fn open_routes(mut self, routes: Router) -> Self {
        self.extensions.open = self.extensions.open.merge(routes);
        self
    }

    /// The server.
    pub fn build(self) -> Server {
        Server::new(self)
    }
}

/// Puts something around a router.
type Wrap = Box<dyn Fn(Router) -> Router + Send + Sync>;

/// What others add to the routes.
#[derive(Default)]
pub(crate) struct Extensions {
    layers: Vec<Wrap>,
    guarded: Router,
    open: Router,
}

impl Extensions {
    /// Routes for principals, before the guard stands before them.
    pub(crate) fn guarded(&self) -> Router<AppState> {
        self.guarded.clone().with_state(())
    }

    /// Routes that are open to all.
    pub(crate) fn open(&self) -> Router<AppState> {
        self.open.clone().with_state(())
    }

    /// `router` with all layers around it.
    pub(crate) fn wrap(&self, router: Router) -> Router {
        self.layers.iter().fold(router, |router, wrap| wrap(router))
    }
}
