//! What Entra does: endpoints, tokens, and the check of a token.
//!
//! Tokens look like JWTs, as clients read their claims, and are signed with a key of the state
//! directory, so that they outlive a restart and another directory's are refused.

use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use time::OffsetDateTime;
use time::macros::format_description;
use url::form_urlencoded;
use uuid::Uuid;

use crate::arm::call::Call;
use crate::arm::clock_text::unix;
use crate::arm::error::ArmError;
use crate::state::Identity;

/// How long a token is good for: Entra gives 60 to 90 minutes.
pub(crate) const LIFETIME: Duration = Duration::from_secs(3599);

/// HMAC-SHA-256 with the state directory's key.
pub(crate) fn signature(key: &str, message: &[u8]) -> Vec<u8> {
    // Any length of key is a key, so this cannot fail; an empty signature would match nothing.
    Hmac::<Sha256>::new_from_slice(key.as_bytes()).map_or_else(
        |_| Vec::new(),
        |mut mac| {
            mac.update(message);
            mac.finalize().into_bytes().to_vec()
        },
    )
}

/// A token for `audience` from `now` on.
pub(crate) fn token(
    identity: &Identity,
    authority: &str,
    audience: &str,
    now: SystemTime,
) -> String {
    let header = json!({ "typ": "JWT", "alg": "HS256" });
    let claims = json!({
        "aud": audience,
        "iss": format!("{authority}/{}/v2.0", identity.tenant_id),
        "iat": unix(now),
        "nbf": unix(now),
        "exp": unix(now + LIFETIME),
        "appid": identity.client_id,
        "idtyp": "app",
        "oid": identity.object_id,
        "sub": identity.object_id,
        "tid": identity.tenant_id,
        "ver": "1.0",
        "uti": Uuid::new_v4(),
    });
    let unsigned = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let signed = URL_SAFE_NO_PAD.encode(signature(&identity.signing_key, unsigned.as_bytes()));
    format!("{unsigned}.{signed}")
}

/// Checks the `Authorization` header of a request to Resource Manager.
pub(crate) fn authenticate(
    identity: &Identity,
    authorization: Option<&str>,
    now: SystemTime,
    authority: &str,
) -> Result<(), ArmError> {
    let refused = |code: &str, message: &str| {
        ArmError::gateway(401, code, message).with_header(
            "www-authenticate",
            format!(
                "Bearer authorization_uri=\"{authority}/{}\", error=\"invalid_token\", error_description=\"{message}\"",
                identity.tenant_id
            ),
        )
    };
    let Some(authorization) = authorization else {
        return Err(refused(
            "AuthenticationFailed",
            "Authentication failed. The 'Authorization' header is missing.",
        ));
    };
    let invalid = || refused("InvalidAuthenticationToken", "The access token is invalid.");
    let (scheme, token) = authorization.split_once(' ').ok_or_else(invalid)?;
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(refused(
            "AuthenticationFailed",
            "Authentication failed. The 'Authorization' header is provided in an invalid format.",
        ));
    }
    let claims = claims(identity, token).ok_or_else(invalid)?;
    let expires = claims["exp"].as_u64().unwrap_or_default();
    if expires <= unix(now) {
        return Err(refused(
            "ExpiredAuthenticationToken",
            &format!(
                "The access token expiry UTC time '{}' is earlier than current UTC time '{}'.",
                american(expires),
                american(unix(now))
            ),
        ));
    }
    let audience = claims["aud"].as_str().unwrap_or_default();
    if !is_resource_manager(audience) {
        return Err(refused(
            "InvalidAuthenticationTokenAudience",
            &format!(
                "The access token has been obtained for wrong audience or resource '{audience}'. It should exactly match with one of the allowed audiences '{authority}','https://management.azure.com','https://management.core.windows.net'."
            ),
        ));
    }
    Ok(())
}

/// What a token says, if it is one of this directory's.
fn claims(identity: &Identity, token: &str) -> Option<Value> {
    let (unsigned, signed) = token.trim().rsplit_once('.')?;
    let expected = URL_SAFE_NO_PAD.encode(signature(&identity.signing_key, unsigned.as_bytes()));
    if signed != expected {
        return None;
    }
    let (_, claims) = unsigned.split_once('.')?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

/// Whom a good token is for, for services other than Resource Manager; or what is wrong with it.
pub(crate) fn audience_of(
    identity: &Identity,
    token: &str,
    now: SystemTime,
) -> Result<String, String> {
    let claims = claims(identity, token)
        .ok_or_else(|| "Signature validation failed. The token is invalid.".to_owned())?;
    if claims["exp"].as_u64().unwrap_or_default() <= unix(now) {
        return Err("Lifetime validation failed. The token is expired.".to_owned());
    }
    Ok(claims["aud"].as_str().unwrap_or_default().to_owned())
}

/// Loopback with any port, as tokens outlive the port of a start, and Azure's own names.
fn is_resource_manager(audience: &str) -> bool {
    let audience = audience.trim_end_matches('/');
    matches!(
        audience,
        "https://management.azure.com" | "https://management.core.windows.net"
    ) || ["https://localhost:", "https://127.0.0.1:"]
        .iter()
        .any(|base| {
            audience
                .strip_prefix(base)
                .is_some_and(|port| port.parse::<u16>().is_ok())
        })
}

/// `8/1/2022 3:23:59 AM`, as the message has it.
fn american(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| {
            time.format(format_description!(
                "[month padding:none]/[day padding:none]/[year] [hour repr:12 padding:none]:[minute]:[second] [period]"
            ))
            .ok()
        })
        .unwrap_or_default()
}

/// Answers a request for a login endpoint; `None` when the path is none.
pub(crate) fn answer(
    identity: &Identity,
    base: &str,
    call: &Call,
    now: SystemTime,
) -> Option<Response<Body>> {
    let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
    let response = match (&call.method, segments.as_slice()) {
        (&Method::GET, ["metadata", "endpoints"]) => json_response(200, &endpoints(identity, base)),
        // The short names of platform images, of which there are none.
        (&Method::GET, ["aliases.json"]) => {
            json_response(200, &json!({ "outputs": { "aliases": { "value": {} } } }))
        }
        (&Method::GET, ["common", "discovery", "instance"]) => {
            json_response(200, &instance_discovery(identity, base))
        }
        (
            &Method::GET,
            [tenant, ".well-known", "openid-configuration"]
            | [tenant, "v2.0", ".well-known", "openid-configuration"],
        ) => {
            if is_tenant(identity, tenant) {
                json_response(200, &openid_configuration(identity, base))
            } else {
                unknown_tenant(tenant, now)
            }
        }
        (&Method::POST, [tenant, "oauth2", "token"] | [tenant, "oauth2", "v2.0", "token"]) => {
            if *tenant == identity.tenant_id.to_string() {
                issue(identity, base, call, now)
            } else {
                unknown_tenant(tenant, now)
            }
        }
        _ => return None,
    };
    Some(response)
}

fn is_tenant(identity: &Identity, tenant: &str) -> bool {
    ["common", "organizations"].contains(&tenant) || tenant == identity.tenant_id.to_string()
}

/// One object. The catalogue of 2019 is a list, which crashes today's `az`.
fn endpoints(identity: &Identity, base: &str) -> Value {
    json!({
        "portal": base,
        "authentication": {
            "loginEndpoint": base,
            "audiences": [base, "https://management.core.windows.net/", "https://management.azure.com/"],
            "tenant": identity.tenant_id,
            "identityProvider": "AAD",
        },
        "media": base,
        "graphAudience": base,
        "graph": base,
        "name": "LocalAzure",
        "suffixes": {
            "storage": "blob.localhost",
            "keyVaultDns": "vault.localhost",
            "sqlServerHostname": "database.localhost",
            "acrLoginServer": "azurecr.localhost",
        },
        "batch": base,
        "resourceManager": base,
        "vmImageAliasDoc": format!("{base}/aliases.json"),
        "activeDirectoryDataLake": base,
        "sqlManagement": base,
        "microsoftGraphResourceId": base,
        "gallery": base,
    })
}

fn instance_discovery(identity: &Identity, base: &str) -> Value {
    let host = base.trim_start_matches("https://");
    json!({
        "tenant_discovery_endpoint":
            format!("{base}/{}/v2.0/.well-known/openid-configuration", identity.tenant_id),
        "api-version": "1.1",
        "metadata": [{
            "preferred_network": host,
            "preferred_cache": host,
            "aliases": [host],
        }],
    })
}

fn openid_configuration(identity: &Identity, base: &str) -> Value {
    let tenant = identity.tenant_id;
    json!({
        "token_endpoint": format!("{base}/{tenant}/oauth2/v2.0/token"),
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        "jwks_uri": format!("{base}/{tenant}/discovery/v2.0/keys"),
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": format!("{base}/{tenant}/v2.0"),
        "authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/authorize"),
        "device_authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/devicecode"),
        "end_session_endpoint": format!("{base}/{tenant}/oauth2/v2.0/logout"),
        "tenant_region_scope": "WW",
        "cloud_instance_name": base.trim_start_matches("https://"),
    })
}

/// The client-credentials grant, versions 1 and 2.
fn issue(identity: &Identity, base: &str, call: &Call, now: SystemTime) -> Response<Body> {
    let form: Vec<(String, String)> = form_urlencoded::parse(&call.body).into_owned().collect();
    let field = |name: &str| {
        form.iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    let Some(grant) = field("grant_type") else {
        return missing("grant_type", now);
    };
    if grant != "client_credentials" {
        return refuse(
            400,
            "unsupported_grant_type",
            70003,
            &format!("The app requested an unsupported grant type '{grant}'."),
            now,
        );
    }
    let Some(client) = field("client_id") else {
        return missing("client_id", now);
    };
    if !client.eq_ignore_ascii_case(&identity.client_id.to_string()) {
        return refuse(
            400,
            "unauthorized_client",
            700_016,
            &format!(
                "Application with identifier '{client}' was not found in the directory '{}'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant.",
                identity.tenant_id
            ),
            now,
        );
    }
    let Some(secret) = field("client_secret") else {
        return refuse(
            401,
            "invalid_client",
            7_000_218,
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
            now,
        );
    };
    if secret != identity.client_secret {
        return refuse(
            401,
            "invalid_client",
            7_000_215,
            &format!(
                "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '{client}'."
            ),
            now,
        );
    }
    // Version 1 names a resource, version 2 a scope of it.
    let audience = match (field("scope"), field("resource")) {
        (Some(scope), _) => scope
            .split(' ')
            .find_map(|scope| scope.strip_suffix("/.default")),
        (None, Some(resource)) => Some(resource),
        (None, None) => return missing("scope", now),
    };
    let Some(audience) = audience else {
        return refuse(
            400,
            "invalid_scope",
            1_002_012,
            "The provided value for scope is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).",
            now,
        );
    };
    json_response(
        200,
        &json!({
            "token_type": "Bearer",
            "expires_in": LIFETIME.as_secs(),
            "ext_expires_in": LIFETIME.as_secs(),
            "access_token": token(identity, base, audience, now),
        }),
    )
}

/// A refusal that is not for anything in the request; `None` when it is not for a token.
pub(crate) fn refused(
    call: &Call,
    status: u16,
    error: &str,
    why: &str,
    now: SystemTime,
) -> Option<Response<Body>> {
    let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
    let is_for_token = matches!(
        segments.as_slice(),
        [_, "oauth2", "token"] | [_, "oauth2", "v2.0", "token"]
    );
    // The number says that a transient error has occurred.
    is_for_token.then(|| refuse(status, error, 90_033, why, now))
}

fn unknown_tenant(tenant: &str, now: SystemTime) -> Response<Body> {
    refuse(
        400,
        "invalid_request",
        90002,
        &format!(
            "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant."
        ),
        now,
    )
}

fn missing(field: &str, now: SystemTime) -> Response<Body> {
    refuse(
        400,
        "invalid_request",
        900_144,
        &format!("The request body must contain the following parameter: '{field}'."),
        now,
    )
}

fn refuse(status: u16, error: &str, number: u32, why: &str, now: SystemTime) -> Response<Body> {
    let (trace, correlation) = (Uuid::new_v4(), Uuid::new_v4());
    let timestamp = OffsetDateTime::from(now)
        .format(format_description!(
            "[year]-[month]-[day] [hour]:[minute]:[second]Z"
        ))
        .unwrap_or_default();
    json_response(
        status,
        &json!({
            "error": error,
            "error_description": format!(
                "AADSTS{number}: {why} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {timestamp}"
            ),
            "error_codes": [number],
            "timestamp": timestamp,
            "trace_id": trace,
            "correlation_id": correlation,
        }),
    )
}

fn json_response(status: u16, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "https://localhost:1";

    fn identity() -> Identity {
        Identity {
            tenant_id: Uuid::new_v4(),
            subscription_id: Uuid::new_v4(),
            client_id: Uuid::new_v4(),
            object_id: Uuid::new_v4(),
            client_secret: "secret".to_owned(),
            signing_key: "key".to_owned(),
        }
    }

    fn code(identity: &Identity, authorization: Option<&str>, now: SystemTime) -> Option<String> {
        authenticate(identity, authorization, now, BASE)
            .err()
            .map(|error| {
                assert_eq!(error.status, 401);
                error.code
            })
    }

    #[test]
    fn only_our_own_tokens_that_are_not_expired_are_taken() {
        let (identity, now) = (identity(), SystemTime::now());
        let bearer = format!("Bearer {}", token(&identity, BASE, BASE, now));
        assert_eq!(code(&identity, Some(&bearer), now), None);
        let later = now + Duration::from_secs(3600);
        assert_eq!(
            code(&identity, Some(&bearer), later).as_deref(),
            Some("ExpiredAuthenticationToken")
        );
        assert_eq!(
            code(&identity, None, now).as_deref(),
            Some("AuthenticationFailed")
        );
        let mut other = identity.clone();
        other.signing_key = "another".to_owned();
        assert_eq!(
            code(&other, Some(&bearer), now).as_deref(),
            Some("InvalidAuthenticationToken")
        );
        let graph = format!(
            "Bearer {}",
            token(&identity, BASE, "https://graph.microsoft.com", now)
        );
        assert_eq!(
            code(&identity, Some(&graph), now).as_deref(),
            Some("InvalidAuthenticationTokenAudience")
        );
    }
}
