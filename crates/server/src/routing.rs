//! A table of routes, from which both the router and the OpenAPI document are made.

use axum::Router;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::state::AppState;

/// Makes a route with its description.
type Make = fn() -> UtoipaMethodRouter<AppState>;

/// Routes, each made when it is needed: their descriptions are much larger than they are, and a server that nobody asks for
/// its document never has them all.
#[derive(Default, Clone)]
pub(crate) struct Routes {
    described: Vec<(String, Make)>,
    /// Other addresses of described routes, which are not in the document.
    aliases: Vec<(&'static str, Make)>,
}

impl Routes {
    /// Adds a route.
    pub(crate) fn route(mut self, make: Make) -> Self {
        self.described.push((String::new(), make));
        self
    }

    /// Adds another address of a route.
    pub(crate) fn alias(mut self, path: &'static str, make: Make) -> Self {
        self.aliases.push((path, make));
        self
    }

    /// Adds other routes.
    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.described.extend(other.described);
        self.aliases.extend(other.aliases);
        self
    }

    /// Adds other routes below a path; their aliases are complete and stay.
    pub(crate) fn nest(mut self, path: &str, other: Self) -> Self {
        self.aliases.extend(other.aliases);
        self.described.extend(other.described.into_iter().map(|(below, make)| (format!("{path}{below}"), make)));
        self
    }

    /// The routes alone. The document cannot say that a parameter has slashes in it; one with the name `path`, at the end, has.
    pub(crate) fn router(&self) -> Router<AppState> {
        let described = self.described.iter().fold(Router::new(), |router, (prefix, make)| {
            let (_, paths, methods) = make();
            paths.paths.keys().fold(router, |router, path| {
                let path = format!("{prefix}{path}");
                let path = path.strip_suffix("{path}").map_or(path.clone(), |before| format!("{before}{{*path}}"));
                router.route(&path, methods.clone())
            })
        });
        self.aliases.iter().fold(described, |router, (path, make)| router.route(path, make().2))
    }

    /// The descriptions alone.
    pub(crate) fn openapi(&self) -> OpenApi {
        let all = self.described.iter().fold(OpenApiRouter::default(), |all, (prefix, make)| {
            let one = OpenApiRouter::default().routes(make());
            // Merged, since nesting takes away what another method of the same path said.
            all.merge(if prefix.is_empty() { one } else { OpenApiRouter::default().nest(prefix, one) })
        });
        all.into_openapi()
    }
}
