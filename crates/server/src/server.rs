//! A server made of its parts.

use std::{fmt, future::Future, io, sync::Arc};

use axum::{Router, body::Bytes, middleware::from_fn_with_state};
use longshore_engine::{
    Engine,
    bash::{BashService, Limits},
};
use tokio::net::TcpListener;

use crate::{
    Activity, ApiError, SandboxPlaces, accept,
    audit::audit,
    auth::{require_admin, require_principal},
    builder::{Extensions, ServerBuilder},
    front::front,
    openapi, routes, sockets,
    state::AppState,
};

/// A server made of its parts.
///
/// [`Server::serve`] runs it on a listener. [`Server::router`] gives its routes to those who run them in their own way;
/// they call [`Server::recover`] before and [`Server::close`] after.
#[derive(Clone)]
pub struct Server {
    state: AppState,
    extensions: Arc<Extensions>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

impl Server {
    /// A server of the conversations of `engine`, which outside of conversations acts in `places`: the same that the engine
    /// was given.
    pub fn builder(engine: Engine, places: SandboxPlaces) -> ServerBuilder {
        ServerBuilder::new(engine, places)
    }

    pub(crate) fn new(builder: ServerBuilder) -> Self {
        let ServerBuilder { engine, workspaces, options, authenticator, extensions, .. } = builder;
        let bash = BashService::new(engine.store(), Limits::default());
        let state = AppState::new(options, authenticator, workspaces, engine, bash);
        Self { state, extensions: Arc::new(extensions) }
    }

    /// The routes.
    ///
    /// # Panics
    /// If an extra route has the path of another.
    pub fn router(&self) -> Router {
        let state = self.state.clone();
        let logged = || from_fn_with_state(state.clone(), audit);
        let guard = from_fn_with_state(state.clone(), require_principal);
        let api = routes::api().router().merge(self.extensions.guarded()).route_layer(guard);
        let admin = routes::admin().router().route_layer(from_fn_with_state(state.clone(), require_admin));
        let all = routes::open()
            .router()
            .merge(api.route_layer(logged()))
            .merge(admin.route_layer(logged()))
            .merge(routes::pages())
            .merge(routes::streams().router().route_layer(logged()))
            .merge(sockets::router().route_layer(logged()))
            .merge(self.extensions.open())
            .fallback(async || ApiError::not_found("Not Found"))
            .method_not_allowed_fallback(async || {
                ApiError::new(axum::http::StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
            })
            .with_state(state.clone());
        self.extensions.wrap(all).layer(from_fn_with_state(state, front))
    }

    /// Serves until `shutdown` is ready, then closes sockets with 1012, ends commands and returns within two seconds.
    ///
    /// # Errors
    /// What the system says about the listener, and if the store cannot be read.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send) -> io::Result<()> {
        self.state.set_bound(listener.local_addr()?);
        self.recover().await?;
        accept::serve(&self, listener, shutdown).await;
        self.state.audit().close().await;
        Ok(())
    }

    /// Settles what the last server left open.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn recover(&self) -> io::Result<()> {
        self.state.audit().start();
        self.state.bash().recover().await.map_err(io::Error::other)?;
        self.state.engine().recover().await.map_err(io::Error::other)
    }

    /// Ends sockets, commands and runs, then the audit log: requests after that are not logged.
    pub async fn close(&self) {
        self.end().await;
        self.state.audit().close().await;
    }

    /// Ends sockets, commands and runs.
    pub(crate) async fn end(&self) {
        self.state.closing().cancel();
        tokio::join!(self.state.bash().close(), self.state.engine().shutdown(), self.state.authenticator().flush());
    }

    /// When somebody last used the server.
    pub fn activity(&self) -> &Activity {
        self.state.activity()
    }

    /// The OpenAPI document of the routes, as text for people.
    pub fn openapi() -> Bytes {
        openapi::pretty_text()
    }

    pub(crate) fn state(&self) -> &AppState {
        &self.state
    }
}
