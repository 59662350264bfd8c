//! The OpenAPI document: what the routes say of themselves, and what holds for all of them.

use axum::body::Bytes;
use longshore_protocol::{
    ConversationId,
    error::{ErrorBody, ValidationError},
};
use serde::Serialize;
use utoipa::{
    OpenApi, PartialSchema, ToSchema,
    openapi::{
        ContentBuilder, HttpMethod, Ref, RefOr, Required, ResponseBuilder,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn},
        security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

use crate::routes;

/// How paths begin that name a conversation.
const IN_CONVERSATION: &str = "/api/conversations/{conversation_id}/";

#[derive(OpenApi)]
#[openapi(info(
    title = "Longshore",
    description = "Runs software agents for many users. Speaks the protocol of the OpenHands agent server.",
    version = "1.58.2"
))]
struct Document;

/// Body of a 422 answer to a request whose fields are wrong.
#[derive(Serialize, ToSchema)]
#[schema(as = HTTPValidationError)]
struct HttpValidationError {
    #[schema(inline)]
    detail: Wrong,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "stands in the OpenAPI document only")]
enum Wrong {
    /// What is wrong, field by field.
    Fields(Vec<ValidationError>),
    /// What is wrong with the request as a whole.
    Request(String),
}

/// The text of the document, on one line.
pub(crate) fn text() -> Bytes {
    document().to_json().unwrap_or_default().into()
}

/// The text of the document for people.
pub(crate) fn pretty_text() -> Bytes {
    document().to_pretty_json().unwrap_or_default().into()
}

fn document() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    document.merge(routes::open().openapi());
    let open: Vec<_> = document.paths.paths.keys().cloned().collect();
    document.merge(routes::api().openapi());
    document.merge(routes::streams().openapi());
    document.merge(routes::admin().openapi());
    let components = document.components.get_or_insert_default();
    for (name, schema) in [
        ("ErrorBody", ErrorBody::schema()),
        ("ValidationError", ValidationError::schema()),
        ("HTTPValidationError", HttpValidationError::schema()),
    ] {
        components.schemas.insert(name.to_owned(), schema);
    }
    components.security_schemes.insert(
        "APIKeyHeader".to_owned(),
        SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-Session-API-Key"))).into(),
    );
    components
        .security_schemes
        .insert("Bearer".to_owned(), SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)).into());
    for (path, item) in &mut document.paths.paths {
        let is_guarded = !open.contains(path);
        for method in [HttpMethod::Get, HttpMethod::Post, HttpMethod::Put, HttpMethod::Patch, HttpMethod::Delete] {
            let operation = match method {
                HttpMethod::Get => &mut item.get,
                HttpMethod::Post => &mut item.post,
                HttpMethod::Put => &mut item.put,
                HttpMethod::Patch => &mut item.patch,
                _ => &mut item.delete,
            };
            if let Some(operation) = operation {
                if path.starts_with(IN_CONVERSATION) {
                    name_conversation(operation);
                }
                complete(operation, is_guarded);
            }
        }
    }
    document
}

/// An operation that is also there outside of conversations gets its own name here, and the parameter it shares with others.
fn name_conversation(operation: &mut Operation) {
    let parameters = operation.parameters.get_or_insert_default();
    let names_it = |parameter: &RefOr<Parameter>| matches!(parameter, RefOr::T(it) if it.name == "conversation_id");
    if parameters.iter().any(names_it) {
        return;
    }
    let parameter = ParameterBuilder::new()
        .name("conversation_id")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(ConversationId::schema()))
        .build();
    parameters.insert(0, RefOr::T(parameter));
    add_error(operation, "404", "There is no such conversation, or it has no such thing.", "ErrorBody");
    add_error(operation, "409", "The conversation's workspace cannot be used.", "ErrorBody");
    operation.operation_id = operation.operation_id.take().map(|name| format!("conversation_{name}"));
}

/// Adds what every operation has: keys, and the errors that come before the handler.
fn complete(operation: &mut Operation, is_guarded: bool) {
    if is_guarded {
        operation.security.get_or_insert_default().extend([
            SecurityRequirement::new::<_, _, String>("APIKeyHeader", []),
            SecurityRequirement::new::<_, _, String>("Bearer", []),
        ]);
        add_error(operation, "401", "No key, or one that nobody has.", "ErrorBody");
        add_error(operation, "403", "The key is not good for this; the detail says what is needed.", "ErrorBody");
        add_error(operation, "429", "Too many requests; Retry-After says when there may be one more.", "ErrorBody");
        add_error(operation, "504", "The request took longer than this server allows.", "ErrorBody");
    }
    if operation.request_body.is_some() {
        add_error(operation, "408", "The body did not arrive in time.", "ErrorBody");
        add_error(operation, "413", "The body is larger than this server takes.", "ErrorBody");
    }
    let has_input =
        operation.request_body.is_some() || operation.parameters.as_ref().is_some_and(|all| !all.is_empty());
    if has_input {
        add_error(operation, "422", "Something is wrong with what was sent.", "HTTPValidationError");
    }
}

fn add_error(operation: &mut Operation, status: &str, description: &str, schema: &str) {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    let response = ResponseBuilder::new().description(description).content("application/json", content).build();
    operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(response));
}
