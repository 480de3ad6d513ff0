//! Tests that `openapi.json` describes the management API. Each call describes itself, and this
//! file adds what all calls have in common.

use expect_test::expect_file;
use http::header::AUTHORIZATION;
use ingestion_api::{ErrorBody, header};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, Response, ResponseBuilder};
use utoipa::{OpenApi as _, ToSchema as _};

use super::{admin_calls, follower_calls};

// Scenario: the calls describe themselves as an OpenAPI document.
// Guarantee: `openapi.json`, which the gateway returns, is that document. `UPDATE_EXPECT=1 cargo
// test --package ingestion-gateway` rewrites the file.
#[test]
fn the_api_is_as_documented() {
    let mut document = frame();
    document.merge(admin_calls().into_openapi());
    document.merge(follower_calls().into_openapi());
    add_common_responses(&mut document);
    expect_file!["../../openapi.json"].assert_eq(&document.to_pretty_json().unwrap());
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Ingestion API keys",
        description = "Creates, lists, updates, rotates and deletes ingestion API keys. Times are milliseconds since the Unix epoch, and ids \
            are integers below 2^53; both are strings in the bodies of errors. Unknown fields of a request are ignored.",
        version = "6.0.0",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(ErrorBody))
)]
struct Frame;

/// The responses that every call may have, in addition to those that the call describes itself.
const COMMON: [(&str, &str); 3] = [
    ("401", "There is no admin token, or it is not accepted"),
    ("500", "An error in the server"),
    ("503", "The keys cannot be read or written now: try again after the seconds in `Retry-After`"),
];

/// Creates the document without the calls.
fn frame() -> OpenApi {
    let header = |name| SecurityScheme::ApiKey(ApiKey::Header(name));
    let authorization =
        ApiKeyValue::with_description(AUTHORIZATION.as_str(), "`ApiKey`, a space, and the token");
    let follower = ApiKeyValue::with_description(
        AUTHORIZATION.as_str(),
        "`StackState`, a space, and the token of a follower",
    );
    let forms = [
        ("ApiToken", header(ApiKeyValue::new(header::API_TOKEN))),
        ("ServiceToken", header(ApiKeyValue::new(header::API_KEY))),
        ("ServiceBearer", header(ApiKeyValue::new(header::SERVICE_BEARER))),
        ("Authorization", header(authorization)),
    ];
    let mut frame = Frame::openapi();
    // A request needs only one of these forms of the token.
    frame.security =
        Some(forms.iter().map(|&(name, _)| SecurityRequirement::new(name, [""; 0])).collect());
    let components = frame.components.get_or_insert_default();
    components.security_schemes.insert("FollowerToken".to_owned(), header(follower).into());
    components.security_schemes.extend(forms.map(|(name, form)| (name.to_owned(), form.into())));
    frame
}

fn add_common_responses(document: &mut OpenApi) {
    for path in document.paths.paths.values_mut() {
        let methods = [
            &mut path.get,
            &mut path.put,
            &mut path.post,
            &mut path.delete,
            &mut path.options,
            &mut path.head,
            &mut path.patch,
            &mut path.trace,
        ];
        for operation in methods.into_iter().flatten() {
            for (status, description) in COMMON {
                operation
                    .responses
                    .responses
                    .entry(status.to_owned())
                    .or_insert_with(|| refusal(description).into());
            }
        }
    }
}

fn refusal(description: &str) -> Response {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name(ErrorBody::name()))).build();
    ResponseBuilder::new().description(description).content("application/json", body).build()
}
