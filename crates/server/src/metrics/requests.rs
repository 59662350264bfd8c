//! Requests: how many, how long, with what end.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request},
    http::{Method, StatusCode},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use super::Metrics;

/// Upper bounds of the classes of durations, in seconds.
const CLASSES: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// What stands for the route of a request that no route was found for.
const UNMATCHED: &str = "unmatched";

/// What stands for the status of a request whose client did not wait for the answer.
const ABANDONED: u16 = 499;

pub(super) struct Requests {
    answered: Family<Answered, Counter>,
    duration: Family<Asked, Histogram>,
    in_flight: Gauge,
    panics: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    method: &'static str,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: String,
    status: u16,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            answered: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(CLASSES)),
            in_flight: Gauge::default(),
            panics: Counter::default(),
        }
    }
}

impl Requests {
    pub(super) fn register(&self, registry: &mut Registry) {
        let Self { answered, duration, in_flight, panics } = self;
        registry.register(
            "longshore_http_requests",
            "Requests that ended, by method, route and status; 499 if the client did not wait",
            answered.clone(),
        );
        registry.register(
            "longshore_http_request_duration_seconds",
            "Time from the head of a request to the head of its answer",
            duration.clone(),
        );
        registry.register("longshore_http_requests_in_flight", "Requests that are being answered", in_flight.clone());
        registry.register("longshore_http_panics", "Requests in which a handler broke off", panics.clone());
    }
}

/// The route of a request, as it is written in the table of routes: never what a client made up.
pub(crate) fn route(request: &Request) -> String {
    request.extensions().get::<MatchedPath>().map_or(UNMATCHED, MatchedPath::as_str).to_owned()
}

impl Metrics {
    /// A request comes in. It is counted when the result is dropped, also if nobody waits for the answer.
    pub(crate) fn request(&self, method: &Method, route: String) -> Measured {
        self.0.requests.in_flight.inc();
        let asked = Asked { method: known(method), route };
        Measured { metrics: self.clone(), asked, began: Instant::now(), status: ABANDONED }
    }

    /// A handler broke off.
    pub(crate) fn panicked(&self) {
        self.0.requests.panics.inc();
    }
}

/// A request that is being answered.
pub(crate) struct Measured {
    metrics: Metrics,
    asked: Asked,
    began: Instant,
    status: u16,
}

impl Measured {
    /// The request has an answer.
    pub(crate) fn answered(mut self, status: StatusCode) {
        self.status = status.as_u16();
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let Requests { answered, duration, in_flight, .. } = &self.metrics.0.requests;
        in_flight.dec();
        duration.get_or_create(&self.asked).observe(self.began.elapsed().as_secs_f64());
        let Asked { method, route } = &self.asked;
        answered.get_or_create(&Answered { method, route: route.clone(), status: self.status }).inc();
    }
}

/// The name of a method; clients may make up others.
fn known(method: &Method) -> &'static str {
    const KNOWN: [Method; 7] =
        [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD, Method::OPTIONS];
    const NAMES: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    KNOWN.iter().position(|known| known == method).map_or("OTHER", |index| NAMES[index])
}
